//! The wire shapes of messages and pages of messages.

use serde::Serialize;
use shared::{
    erasure::FORMER_MEMBER,
    ids::{MessageId, ThreadId, UserId},
    messages::{self, HistoryCursor, Message},
};
use utoipa::ToSchema;

use super::{Timestamp, shapes};

/// A message.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Message)]
pub struct MessageView {
    #[schema(value_type = shapes::MessageId)]
    id: MessageId,
    #[schema(value_type = shapes::ThreadId)]
    thread_id: ThreadId,
    /// The message's number in its thread: 1, 2, 3 …
    #[schema(minimum = 1, examples(3))]
    seq: i64,
    #[schema(value_type = shapes::UserId)]
    author_id: UserId,
    #[schema(examples("Grandma"))]
    author_name: String,
    /// Whether the author was erased; `authorName` is then a placeholder.
    author_erased: bool,
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
            author_erased: message.author_name.is_none(),
            author_name: message.author_name.unwrap_or_else(|| FORMER_MEMBER.to_owned()),
            body: message.body,
            file_ids: message.file_ids,
            reply_to_id: message.reply_to_id,
            created_at: message.created_at.into(),
            edited_at: message.edited_at.map(Timestamp::from),
            deleted_at: message.deleted_at.map(Timestamp::from),
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
    /// Cursor of the next page in the same direction; null at the end.
    #[schema(value_type = Option<shapes::Cursor>, required = true)]
    next_cursor: Option<String>,
    /// Cursor to poll with, as `after`.
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
    /// For a time that RFC 3339 can't express.
    pub fn to_json(&self) -> serde_json::Result<Vec<u8>> {
        // Room for most pages, so that the buffer rarely grows.
        let mut json = Vec::with_capacity(256 + 384 * self.messages.len());
        serde_json::to_writer(&mut json, self)?;
        Ok(json)
    }
}
