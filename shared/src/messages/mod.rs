//! Messages: posting and reading.

mod store;

use sha2::{Digest, Sha256};
use time::OffsetDateTime;

pub use crate::cursor::HistoryCursor;
use crate::{
    Error, Result,
    actor::Actor,
    db::{self, Pool},
    error::constraint,
    ids::{FileId, MessageId, ThreadId, UserId},
    limits::Pace,
    text::is_blank,
};

/// Maximum length of a message's text, in characters.
pub const BODY_MAX: usize = 4000;
/// Maximum files of a message.
pub const FILES_MAX: usize = 10;

/// A message as members of its thread read it.
#[derive(Clone, sqlx::FromRow)]
pub struct Message {
    /// Its id.
    pub message_id: MessageId,
    /// Its thread.
    pub thread_id: ThreadId,
    /// Its number in the thread, without gaps from 1, in commit order.
    pub seq: i64,
    /// Its author.
    pub author_id: UserId,
    /// The author's present name; `None` if the author was erased.
    pub author_name: Option<String>,
    /// The text; `None` if there are only files.
    pub body: Option<String>,
    /// Its files, in order.
    pub file_ids: Vec<String>,
    /// The message that it replies to.
    pub reply_to_id: Option<MessageId>,
    /// When it was posted: never earlier than the message before it.
    pub created_at: OffsetDateTime,
    /// When its text last changed.
    pub edited_at: Option<OffsetDateTime>,
    /// When it was deleted.
    pub deleted_at: Option<OffsetDateTime>,
}

/// A message to post, with a text, files, or both.
#[derive(Clone)]
pub struct NewMessage {
    body: Option<String>,
    file_ids: Vec<FileId>,
    reply_to_id: Option<MessageId>,
}

/// A message without text and files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a message has a text or a file")]
pub struct EmptyMessage;

impl NewMessage {
    /// A message of `body`, a result of [`crate::text::clean`], and files. A blank body counts as none.
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

    /// Returns the SHA-256 of the content, which is the same for equivalent requests.
    fn hash(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        let mut field = |bytes: &[u8]| {
            // Prefixed by its length, so that no two requests give the same bytes.
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

/// A client's key that identifies repeated requests: 1 to 255 visible ASCII characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotencyKey(String);

/// A string that is not an [`IdempotencyKey`].
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

/// A committed post.
#[derive(Clone)]
pub struct Posted {
    /// The message.
    pub message: Message,
    /// The number of recipients that are sent an SMS.
    pub queued_count: i32,
    /// The members who are due an SMS now; none for a replay.
    pub due: Vec<UserId>,
    /// The members to whom an SMS about the thread is being sent, and who are due another one after it. Its
    /// worker looks for new messages when it records the outcome, perhaps just before this post was committed.
    pub sending: Vec<UserId>,
    /// The number of members who get none; 0 for a replay.
    pub suppressed: u64,
    /// Whether it was posted before with the same idempotency key.
    pub replayed: bool,
}

/// Posts a message. It and the time at which the sweeper looks for members who are due commit together.
///
/// A repeated `key` posts nothing and returns the first result.
///
/// # Errors
/// [`Error::ThreadNotFound`], also if the caller is not an active member; [`Error::UnknownReply`];
/// [`Error::IdempotencyKeyReused`]; [`Error::TooOften`] for posts faster than `pace`.
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
        due: row.due,
        sending: row.sending,
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

/// The part of a history to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Range {
    /// The newest messages, newest first.
    Newest,
    /// The messages before a place, newest first.
    Before(HistoryCursor),
    /// The messages after a place, oldest first.
    After(HistoryCursor),
}

/// A page of a history.
#[derive(Clone)]
pub struct Page {
    /// The messages, in the order of the [`Range`].
    pub messages: Vec<Message>,
    /// The cursor of the next page in the same direction, if there is one.
    pub next: Option<HistoryCursor>,
    /// The cursor for polling with [`Range::After`], without missed or repeated messages.
    pub latest: HistoryCursor,
}

/// Reads up to `limit` messages of a thread.
///
/// # Errors
/// [`Error::ThreadNotFound`], also if the caller is not an active member.
pub async fn history(
    pool: &Pool,
    actor: &Actor,
    thread_id: ThreadId,
    range: Range,
    limit: usize,
) -> Result<Page> {
    let (family_id, caller) = (&actor.family, &actor.user);
    let mut tx = db::begin_for_family(pool, family_id).await?;
    let found = store::list(&mut tx, family_id, caller, thread_id, range, limit + 1).await?;
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
