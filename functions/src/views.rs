//! The wire shapes of what the domain returns.

use serde::{Serialize, Serializer};
use shared::{
    families::{Family, User},
    ids::{FamilyId, MessageId, ThreadId, UserId},
    messages::Message,
    notifications::Delivery,
    phone::{PhoneNumber, Region},
    threads::{InboxEntry, Kind, Thread},
};
use time::{
    OffsetDateTime, Time, UtcOffset, format_description::BorrowedFormatItem,
    macros::format_description,
};

/// RFC 3339 in UTC with milliseconds.
#[derive(Debug, Clone, Copy)]
pub struct Timestamp(OffsetDateTime);

impl From<OffsetDateTime> for Timestamp {
    fn from(at: OffsetDateTime) -> Self {
        Self(at)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        const FORMAT: &[BorrowedFormatItem<'_>] = format_description!(
            "[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z"
        );
        let text = self.0.to_offset(UtcOffset::UTC).format(FORMAT);
        serializer.serialize_str(&text.map_err(serde::ser::Error::custom)?)
    }
}

/// A thread.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ThreadView {
    id: ThreadId,
    family_id: FamilyId,
    kind: Kind,
    title: String,
    member_key: String,
    last_seq: i64,
    last_message_at: Option<Timestamp>,
    created_at: Timestamp,
    updated_at: Timestamp,
    members: Vec<MemberView>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct MemberView {
    user_id: UserId,
    name: String,
    role: String,
    joined_at: Timestamp,
}

impl From<Thread> for ThreadView {
    fn from(thread: Thread) -> Self {
        Self {
            id: thread.thread_id,
            family_id: thread.family_id,
            kind: thread.kind,
            title: thread.title,
            member_key: thread.member_key,
            last_seq: thread.last_seq,
            last_message_at: thread.last_message_at.map(Timestamp),
            created_at: thread.created_at.into(),
            updated_at: thread.updated_at.into(),
            members: thread
                .members
                .into_iter()
                .map(|member| MemberView {
                    user_id: member.user_id,
                    name: member.name,
                    role: member.role,
                    joined_at: member.joined_at.into(),
                })
                .collect(),
        }
    }
}

/// A thread as its member finds it in the inbox.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct InboxEntryView {
    #[serde(flatten)]
    thread: ThreadView,
    unread_count: i64,
    last_message: Option<LastMessageView>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct LastMessageView {
    author_id: UserId,
    author_name: String,
    preview: String,
    created_at: Timestamp,
}

impl From<InboxEntry> for InboxEntryView {
    fn from(entry: InboxEntry) -> Self {
        let last_message = entry.last_message().map(|last| LastMessageView {
            author_id: last.author_id,
            author_name: last.author_name,
            preview: last.preview,
            created_at: last.created_at.into(),
        });
        Self { unread_count: entry.unread_count, last_message, thread: entry.thread.into() }
    }
}

/// A message.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MessageView {
    id: MessageId,
    thread_id: ThreadId,
    seq: i64,
    author_id: UserId,
    author_name: String,
    body: Option<String>,
    file_ids: Vec<String>,
    reply_to_id: Option<MessageId>,
    created_at: Timestamp,
    edited_at: Option<Timestamp>,
    deleted_at: Option<Timestamp>,
}

impl From<Message> for MessageView {
    fn from(message: Message) -> Self {
        Self {
            id: message.message_id,
            thread_id: message.thread_id,
            seq: message.seq,
            author_id: message.author_id,
            author_name: message.author_name,
            body: message.body,
            file_ids: message.file_ids,
            reply_to_id: message.reply_to_id,
            created_at: message.created_at.into(),
            edited_at: message.edited_at.map(Timestamp),
            deleted_at: message.deleted_at.map(Timestamp),
        }
    }
}

/// Who got a message, and why not.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DeliveryView {
    user_id: UserId,
    state: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    attempts: i32,
    segments: Option<i32>,
    sent_at: Option<Timestamp>,
    opened_at: Option<Timestamp>,
    read_at: Option<Timestamp>,
}

impl From<Delivery> for DeliveryView {
    fn from(delivery: Delivery) -> Self {
        Self {
            user_id: delivery.recipient_id,
            state: delivery.state,
            reason: delivery.reason,
            attempts: delivery.attempts,
            segments: delivery.segments,
            sent_at: delivery.sent_at.map(Timestamp),
            opened_at: delivery.opened_at.map(Timestamp),
            read_at: delivery.read_at.map(Timestamp),
        }
    }
}

/// A family.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FamilyView {
    id: FamilyId,
    name: String,
    sms_monthly_cap_segments: Option<i32>,
    region: Option<Region>,
    sms_regions: Option<Vec<Region>>,
    created_at: Timestamp,
    updated_at: Timestamp,
}

impl From<Family> for FamilyView {
    fn from(family: Family) -> Self {
        Self {
            id: family.family_id,
            name: family.name.as_str().to_owned(),
            sms_monthly_cap_segments: family.sms_monthly_cap_segments,
            region: family.region,
            sms_regions: family.sms_regions,
            created_at: family.created_at.into(),
            updated_at: family.updated_at.into(),
        }
    }
}

/// A member of a family, for the host application alone.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct UserView {
    id: UserId,
    family_id: FamilyId,
    name: String,
    phone: Option<PhoneNumber>,
    locale: Option<String>,
    time_zone: Option<String>,
    quiet_hours: Option<QuietHoursView>,
    created_at: Timestamp,
    updated_at: Timestamp,
}

#[derive(Serialize)]
struct QuietHoursView {
    from: String,
    to: String,
}

impl From<User> for UserView {
    fn from(user: User) -> Self {
        let clock = |time: Time| format!("{:02}:{:02}", time.hour(), time.minute());
        let quiet = user.profile.quiet_hours;
        Self {
            id: user.user_id,
            family_id: user.family_id,
            name: user.profile.name.as_str().to_owned(),
            phone: user.profile.phone,
            locale: user.profile.locale,
            time_zone: user.profile.time_zone,
            quiet_hours: quiet
                .quiet_from
                .zip(quiet.quiet_to)
                .map(|(from, to)| QuietHoursView { from: clock(from), to: clock(to) }),
            created_at: user.created_at.into(),
            updated_at: user.updated_at.into(),
        }
    }
}
