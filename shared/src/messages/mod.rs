//! Messages: posting them and reading them back.

mod store;

use sha2::{Digest, Sha256};
use time::OffsetDateTime;

pub use crate::cursor::HistoryCursor;
use crate::{
    Error, Result,
    actor::Actor,
    db::{self, Pool},
    error::constraint,
    ids::{FileId, MessageId, NotificationId, ThreadId, UserId},
    limits::Pace,
    text::is_blank,
};

/// Longest text of a message, in characters.
pub const BODY_MAX: usize = 4000;
/// Most files of a message.
pub const FILES_MAX: usize = 10;

/// A message as a member of its thread reads it.
#[derive(Clone, sqlx::FromRow)]
pub struct Message {
    /// Its id.
    pub message_id: MessageId,
    /// The thread it is in.
    pub thread_id: ThreadId,
    /// Its number in the thread: 1, 2, 3, … in the order of the commits.
    pub seq: i64,
    /// Who wrote it.
    pub author_id: UserId,
    /// The author's name as it is now; `None` when the author was erased.
    pub author_name: Option<String>,
    /// The text; `None` when it is of files only.
    pub body: Option<String>,
    /// Its files, in order.
    pub file_ids: Vec<String>,
    /// The message it answers.
    pub reply_to_id: Option<MessageId>,
    /// When it was posted: never earlier than the message before it.
    pub created_at: OffsetDateTime,
    /// When its text last changed.
    pub edited_at: Option<OffsetDateTime>,
    /// When it was deleted.
    pub deleted_at: Option<OffsetDateTime>,
}

/// What somebody wants to post. At least one of text and files is there.
#[derive(Clone)]
pub struct NewMessage {
    body: Option<String>,
    file_ids: Vec<FileId>,
    reply_to_id: Option<MessageId>,
}

/// Neither text nor file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a message has a text or a file")]
pub struct EmptyMessage;

impl NewMessage {
    /// A message of `body`, which the caller has from [`crate::text::clean`], and files.
    /// What nobody sees is no text.
    ///
    /// # Errors
    /// [`EmptyMessage`].
    pub fn new(
        body: Option<String>,
        file_ids: Vec<FileId>,
        reply_to_id: Option<MessageId>,
    ) -> Result<Self, EmptyMessage> {
        let body = body.filter(|text| !is_blank(text));
        if body.is_none() && file_ids.is_empty() {
            return Err(EmptyMessage);
        }
        Ok(Self { body, file_ids, reply_to_id })
    }

    /// SHA-256 of what is to be posted: the same for the same request, however it was spelled.
    fn hash(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        let mut field = |bytes: &[u8]| {
            // Each with its length before it, so that no two requests run together.
            hash.update((bytes.len() as u64).to_be_bytes());
            hash.update(bytes);
        };
        field(self.body.as_deref().unwrap_or_default().as_bytes());
        field(self.reply_to_id.map(|id| id.to_string()).unwrap_or_default().as_bytes());
        for file in &self.file_ids {
            field(file.as_str().as_bytes());
        }
        hash.finalize().into()
    }
}

/// A client's own name for a request, by which a repetition is known: 1 to 255 visible ASCII characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotencyKey(String);

/// Not an [`IdempotencyKey`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be 1 to 255 visible ASCII characters")]
pub struct BadIdempotencyKey;

impl std::str::FromStr for IdempotencyKey {
    type Err = BadIdempotencyKey;

    fn from_str(value: &str) -> Result<Self, BadIdempotencyKey> {
        let visible = value.bytes().all(|b| b.is_ascii_graphic());
        if visible && (1..=255).contains(&value.len()) {
            Ok(Self(value.to_owned()))
        } else {
            Err(BadIdempotencyKey)
        }
    }
}

/// A post that was committed.
#[derive(Clone)]
pub struct Posted {
    /// The message.
    pub message: Message,
    /// How many recipients are to be texted.
    pub queued_count: i32,
    /// The notifications to wake the worker for; none when this is a replay.
    pub to_enqueue: Vec<NotificationId>,
    /// How many were not to be texted; none when this is a replay.
    pub suppressed: u64,
    /// It was posted before, under the same idempotency key.
    pub replayed: bool,
}

/// Posts a message: it and one notification for every other member commit together.
///
/// The same `key` again posts nothing and answers what the first time was answered.
///
/// # Errors
/// [`Error::ThreadNotFound`] (also for who is not an active member), [`Error::UnknownReply`],
/// [`Error::IdempotencyKeyReused`], [`Error::TooOften`] for who posts faster than `pace`.
pub async fn post(
    pool: &Pool,
    actor: &Actor,
    thread_id: ThreadId,
    new: &NewMessage,
    key: Option<&IdempotencyKey>,
    pace: Option<Pace>,
) -> Result<Posted> {
    let hash = new.hash();
    let (family_id, author_id) = (&actor.family, &actor.user);
    let post = store::Post { family_id, author_id, thread_id, new, key, hash: &hash, pace };
    let row = match try_post(pool, &post).await {
        // The same key at the same moment: the other one is committed now, so look again. A
        // partition's index has the name that its table's has, and more.
        Err(Error::Database(error))
            if constraint(&error)
                .is_some_and(|name| name.starts_with("messages_idempotency_key")) =>
        {
            try_post(pool, &post).await
        }
        done => done,
    }?;
    if row.replayed && row.request_hash.as_deref() != Some(hash.as_slice()) {
        return Err(Error::IdempotencyKeyReused);
    }
    Ok(Posted {
        message: row.message,
        queued_count: row.queued_count,
        to_enqueue: row.to_enqueue,
        suppressed: row.suppressed.unsigned_abs(),
        replayed: row.replayed,
    })
}

async fn try_post(pool: &Pool, post: &store::Post<'_>) -> Result<store::PostRow> {
    let mut tx = db::begin_for_family(pool, post.family_id).await?;
    let row = store::insert(&mut tx, post).await?;
    tx.commit().await?;
    Ok(row)
}

/// Which part of a history to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Range {
    /// The newest messages, newest first.
    Newest,
    /// What came before a place, newest first.
    Before(HistoryCursor),
    /// What came after a place, oldest first.
    After(HistoryCursor),
}

/// A part of a history.
#[derive(Clone)]
pub struct Page {
    /// The messages, in the order of the [`Range`].
    pub messages: Vec<Message>,
    /// Where to read on in the same direction, if there is more.
    pub next: Option<HistoryCursor>,
    /// What to poll [`Range::After`] with: misses nothing and repeats nothing.
    pub latest: HistoryCursor,
}

/// Reads up to `limit` messages of a thread.
///
/// # Errors
/// [`Error::ThreadNotFound`], also for who is not an active member.
pub async fn history(
    pool: &Pool,
    actor: &Actor,
    thread_id: ThreadId,
    range: Range,
    limit: usize,
) -> Result<Page> {
    let (family_id, reader) = (&actor.family, &actor.user);
    let mut tx = db::begin_for_family(pool, family_id).await?;
    let found = store::list(&mut tx, family_id, reader, thread_id, range, limit + 1).await?;
    tx.end();
    let (last_seq, mut messages) = found.ok_or(Error::ThreadNotFound)?;

    let more = messages.len() > limit;
    messages.truncate(limit);
    let end = messages.last().map(|message| message.seq);
    let latest = match range {
        Range::Newest => last_seq,
        Range::Before(cursor) => cursor.latest,
        Range::After(cursor) => end.unwrap_or(cursor.seq),
    };
    let next = end.filter(|_| more).map(|seq| match range {
        Range::Newest | Range::Before(_) => HistoryCursor { seq, latest },
        Range::After(_) => HistoryCursor { seq, latest: seq },
    });
    Ok(Page { messages, next, latest: HistoryCursor { seq: latest, latest } })
}

/// Reads one message of a thread.
///
/// # Errors
/// [`Error::ThreadNotFound`], also when the actor is not an active member; [`Error::MessageNotFound`].
pub async fn get(
    pool: &Pool,
    actor: &Actor,
    thread_id: ThreadId,
    message_id: MessageId,
) -> Result<Message> {
    let mut tx = db::begin_for_family(pool, &actor.family).await?;
    let found = store::get(&mut tx, actor, thread_id, message_id).await;
    tx.end();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new(body: &str, files: &[&str]) -> Result<NewMessage, EmptyMessage> {
        let files = files.iter().map(|id| id.parse().expect("an id")).collect();
        NewMessage::new(Some(body.to_owned()), files, None)
    }

    #[test]
    fn white_space_is_no_text() {
        assert_eq!(new(" \n\t\u{a0}\u{200b}", &[]).err(), Some(EmptyMessage));
        assert_eq!(new(" ", &["f1"]).map(|m| m.body).ok(), Some(None));
        assert!(NewMessage::new(None, vec![], None).is_err());
    }

    #[test]
    fn the_hash_tells_requests_apart() {
        let hash = |body, files: &[&str]| new(body, files).expect("not empty").hash();
        assert_eq!(hash("a", &["b"]), hash("a", &["b"]));
        assert_ne!(hash("a", &["b", "c"]), hash("a", &["bc"]));
        assert_ne!(hash("a", &["b", "c"]), hash("a", &["c", "b"]));
        assert_ne!(hash("ab", &[]), hash("a", &["b"]));
    }

    #[test]
    fn idempotency_keys_are_visible_ascii() {
        assert!("3c7f-…".parse::<IdempotencyKey>().is_err());
        for bad in ["", "a b", "a\n", &"k".repeat(256)] {
            assert!(bad.parse::<IdempotencyKey>().is_err(), "{bad:?}");
        }
        assert!("k".repeat(255).parse::<IdempotencyKey>().is_ok());
    }
}
