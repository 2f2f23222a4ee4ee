//! The wire shapes of what the domain returns.
//!
//! A crate of its own, since turning a page into JSON is what a request has most to do with: this is
//! built to be fast, where the functions are built to be small (`[profile.release.package]`).

pub mod shapes;

use serde::{Serialize, Serializer, ser::Error};
use shared::{
    exports::ExportedDelivery,
    families::{Family, User},
    ids::{FamilyId, MessageId, ThreadId, UserId},
    messages::{self, HistoryCursor, Message},
    notifications::Delivery,
    phone::{PhoneNumber, Region},
    threads::{InboxEntry, Kind, Thread},
};
use time::{OffsetDateTime, Time, UtcOffset};
use utoipa::ToSchema;

/// RFC 3339 in UTC with milliseconds.
#[derive(Debug, Clone, Copy)]
pub struct Timestamp(OffsetDateTime);

impl From<OffsetDateTime> for Timestamp {
    fn from(at: OffsetDateTime) -> Self {
        Self(at)
    }
}

impl Serialize for Timestamp {
    /// Digit by digit: a format that is gone through anew for each took 3 % of a page's processor time.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let at = self.0.to_offset(UtcOffset::UTC);
        let year = u16::try_from(at.year()).ok().filter(|year| *year <= 9999);
        let year = year.ok_or_else(|| S::Error::custom("no year that RFC 3339 can say"))?;
        let mut text = *b"0000-00-00T00:00:00.000Z";
        for (start, digits, value) in [
            (0, 4, year),
            (5, 2, u8::from(at.month()).into()),
            (8, 2, at.day().into()),
            (11, 2, at.hour().into()),
            (14, 2, at.minute().into()),
            (17, 2, at.second().into()),
            (20, 3, at.millisecond()),
        ] {
            let mut rest = value;
            for digit in text[start..start + digits].iter_mut().rev() {
                *digit += (rest % 10) as u8;
                rest /= 10;
            }
        }
        match str::from_utf8(&text) {
            Ok(text) => serializer.serialize_str(text),
            Err(_) => unreachable!("digits"),
        }
    }
}

/// A thread.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Thread)]
pub struct ThreadView {
    #[schema(value_type = shapes::ThreadId)]
    id: ThreadId,
    #[schema(value_type = shapes::FamilyId)]
    family_id: FamilyId,
    #[schema(value_type = shapes::Kind)]
    kind: Kind,
    #[schema(max_length = 200, examples("Sunday lunch"))]
    title: String,
    /// SHA-256 of the sorted member ids joined with `,`, in hex.
    #[schema(
        pattern = "^[0-9a-f]{64}$",
        examples("d767938fea07f6406a8c5ec1a1c0a74a6d79cfbda6f409a26add69f3cafabec8")
    )]
    member_key: String,
    /// The number of the newest message; 0 when there is none.
    #[schema(minimum = 0, examples(3))]
    last_seq: i64,
    #[schema(required = true)]
    last_message_at: Option<Timestamp>,
    created_at: Timestamp,
    updated_at: Timestamp,
    members: Vec<MemberView>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Member)]
struct MemberView {
    #[schema(value_type = shapes::UserId)]
    user_id: UserId,
    #[schema(examples("Grandma"))]
    name: String,
    /// `OWNER` for whoever began the thread, else `MEMBER`; more may come.
    #[schema(examples("MEMBER"))]
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
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = InboxThread)]
pub struct InboxEntryView {
    #[serde(flatten)]
    thread: ThreadView,
    /// Others' messages after the last one that the caller has read.
    #[schema(minimum = 0)]
    unread_count: i64,
    #[schema(required = true)]
    last_message: Option<LastMessageView>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = LastMessage)]
struct LastMessageView {
    #[schema(value_type = shapes::UserId)]
    author_id: UserId,
    #[schema(examples("Grandma"))]
    author_name: String,
    #[schema(max_length = 140, examples("Who brings the albums?"))]
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
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Message)]
pub struct MessageView {
    #[schema(value_type = shapes::MessageId)]
    id: MessageId,
    #[schema(value_type = shapes::ThreadId)]
    thread_id: ThreadId,
    /// Its number in its thread: 1, 2, 3 …
    #[schema(minimum = 1, examples(3))]
    seq: i64,
    #[schema(value_type = shapes::UserId)]
    author_id: UserId,
    #[schema(examples("Grandma"))]
    author_name: String,
    #[schema(required = true, max_length = 4000, examples("Who brings the albums?"))]
    body: Option<String>,
    #[schema(value_type = Vec<shapes::FileId>, max_items = 10)]
    file_ids: Vec<String>,
    #[schema(value_type = Option<shapes::MessageId>, required = true)]
    reply_to_id: Option<MessageId>,
    created_at: Timestamp,
    #[schema(required = true)]
    edited_at: Option<Timestamp>,
    #[schema(required = true)]
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

/// A page of a thread's messages.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = History)]
pub struct HistoryView {
    #[schema(max_items = 200)]
    messages: Vec<MessageView>,
    /// Where to go on in the same direction; null at the end.
    #[schema(value_type = Option<shapes::Cursor>, required = true)]
    next_cursor: Option<String>,
    /// What to poll `after` with, now or later.
    #[schema(value_type = shapes::Cursor)]
    latest_cursor: String,
}

impl From<messages::Page> for HistoryView {
    fn from(page: messages::Page) -> Self {
        Self {
            messages: page.messages.into_iter().map(MessageView::from).collect(),
            next_cursor: page.next.map(HistoryCursor::encode),
            latest_cursor: page.latest.encode(),
        }
    }
}

impl HistoryView {
    /// The page as JSON.
    ///
    /// # Errors
    /// For a time that RFC 3339 can't say.
    pub fn to_json(&self) -> serde_json::Result<Vec<u8>> {
        // Room for most pages, so that what is written need not move as it grows.
        let mut json = Vec::with_capacity(256 + 384 * self.messages.len());
        serde_json::to_writer(&mut json, self)?;
        Ok(json)
    }
}

/// Who got a message, and why not.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Delivery)]
pub struct DeliveryView {
    #[schema(value_type = shapes::UserId)]
    user_id: UserId,
    #[schema(value_type = shapes::DeliveryState)]
    state: String,
    /// Why it went no further, for a program to read; more may come.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, examples("muted"))]
    reason: Option<String>,
    /// How often the carrier was asked.
    #[schema(minimum = 0, examples(1))]
    attempts: i32,
    /// How many segments its text has; null before it was composed.
    #[schema(minimum = 1, required = true, examples(1))]
    segments: Option<i32>,
    #[schema(required = true)]
    sent_at: Option<Timestamp>,
    #[schema(required = true)]
    opened_at: Option<Timestamp>,
    #[schema(required = true)]
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

impl From<ExportedDelivery> for DeliveryView {
    fn from(delivery: ExportedDelivery) -> Self {
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
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Family)]
pub struct FamilyView {
    #[schema(value_type = shapes::FamilyId)]
    id: FamilyId,
    #[schema(max_length = 100, examples("The Riveras"))]
    name: String,
    /// How many segments its texts may have in a calendar month; null is no limit.
    #[schema(minimum = 0, required = true, examples(500))]
    sms_monthly_cap_segments: Option<i32>,
    #[schema(value_type = Option<shapes::Region>, required = true)]
    region: Option<Region>,
    #[schema(value_type = Option<Vec<shapes::Region>>, required = true, max_items = 50)]
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
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = User)]
pub struct UserView {
    #[schema(value_type = shapes::UserId)]
    id: UserId,
    #[schema(value_type = shapes::FamilyId)]
    family_id: FamilyId,
    #[schema(max_length = 100, examples("Grandma"))]
    name: String,
    #[schema(value_type = Option<shapes::PhoneNumber>, required = true)]
    phone: Option<PhoneNumber>,
    #[schema(required = true, examples("es-MX"))]
    locale: Option<String>,
    #[schema(required = true, examples("America/Chicago"))]
    time_zone: Option<String>,
    #[schema(required = true)]
    quiet_hours: Option<QuietHoursView>,
    created_at: Timestamp,
    updated_at: Timestamp,
}

#[derive(Serialize, ToSchema)]
#[schema(as = QuietHours)]
struct QuietHoursView {
    #[schema(pattern = "^[0-2][0-9]:[0-5][0-9]$", examples("21:00"))]
    from: String,
    #[schema(pattern = "^[0-2][0-9]:[0-5][0-9]$", examples("08:00"))]
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use time::{Duration, format_description::well_known::Rfc3339};

    use super::*;

    proptest! {
        #[test]
        fn a_time_is_written_as_others_write_it(seconds in -62_000_000_000_i64..253_402_300_799, ms in 0..1000_i64) {
            let at = OffsetDateTime::from_unix_timestamp(seconds).expect("a time");
            let at = at + Duration::milliseconds(ms);
            let written = serde_json::to_value(Timestamp::from(at)).expect("JSON");
            let text = written.as_str().expect("text");
            prop_assert_eq!(text.len(), 24);
            prop_assert_eq!(OffsetDateTime::parse(text, &Rfc3339).expect("RFC 3339"), at);
        }
    }

    #[test]
    fn a_time_is_in_utc_and_of_a_year_with_four_digits() {
        let written = |at: OffsetDateTime| serde_json::to_string(&Timestamp::from(at)).ok();
        let offset = UtcOffset::from_hms(5, 30, 0).expect("an offset");
        let epoch = OffsetDateTime::UNIX_EPOCH.to_offset(offset);
        assert_eq!(written(epoch).as_deref(), Some("\"1970-01-01T00:00:00.000Z\""));
        let before = OffsetDateTime::UNIX_EPOCH - Duration::days(366 * 2000);
        assert_eq!(written(before), None);
    }
}
