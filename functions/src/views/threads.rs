//! The wire shapes of threads, their members and the inbox.

use serde::Serialize;
use shared::{
    access::Role,
    erasure::FORMER_MEMBER,
    ids::{FamilyId, ThreadId, UserId},
    threads::{InboxEntry, Kind, Thread},
};
use utoipa::ToSchema;

use super::{Timestamp, shapes};

/// A thread.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Thread)]
pub struct ThreadView {
    #[schema(value_type = shapes::ThreadId)]
    id: ThreadId,
    #[schema(value_type = shapes::FamilyId)]
    family_id: FamilyId,
    kind: Kind,
    #[schema(max_length = 200, examples("Sunday lunch"))]
    title: String,
    /// Whether `title` is a default in English, which a client may show in the user's language.
    title_is_default: bool,
    /// SHA-256 of the sorted member ids joined with `,`, in hex.
    #[schema(
        pattern = "^[0-9a-f]{64}$",
        examples("d767938fea07f6406a8c5ec1a1c0a74a6d79cfbda6f409a26add69f3cafabec8")
    )]
    member_key: String,
    /// The `seq` of the newest message; 0 if there is none.
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
    role: Role,
    joined_at: Timestamp,
}

impl From<Thread> for ThreadView {
    fn from(thread: Thread) -> Self {
        Self {
            id: thread.thread_id,
            family_id: thread.family_id,
            kind: thread.kind,
            title_is_default: thread.title.is_none(),
            title: thread.title.unwrap_or_else(|| thread.kind.default_title().to_owned()),
            member_key: thread.member_key,
            last_seq: thread.last_seq,
            last_message_at: thread.last_message_at.map(Timestamp::from),
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

/// A thread in the caller's inbox.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = InboxThread)]
pub struct InboxEntryView {
    #[serde(flatten)]
    thread: ThreadView,
    /// The number of messages by others after the last one that the caller has read.
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
    /// Whether the author was erased; `authorName` is then a placeholder.
    author_erased: bool,
    #[schema(max_length = 140, examples("Who brings the albums?"))]
    preview: String,
    created_at: Timestamp,
}

impl From<InboxEntry> for InboxEntryView {
    fn from(entry: InboxEntry) -> Self {
        let last_message = entry.last_message().map(|last| LastMessageView {
            author_id: last.author_id,
            author_erased: last.author_name.is_none(),
            author_name: last.author_name.unwrap_or_else(|| FORMER_MEMBER.to_owned()),
            preview: last.preview,
            created_at: last.created_at.into(),
        });
        Self { unread_count: entry.unread_count, last_message, thread: entry.thread.into() }
    }
}
