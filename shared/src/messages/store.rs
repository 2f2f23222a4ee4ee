//! SQL statements on messages.

use std::{cmp::Reverse, collections::HashMap, time::Duration};

use sqlx::{Column, FromRow, PgConnection, Row, postgres::PgRow};

use super::{IdempotencyKey, Message, NewMessage, Range};
use crate::{
    Error, Result,
    actor::Actor,
    delivery::recipients,
    error::constraint,
    ids::{FamilyId, MessageId, ThreadId, UserId},
    limits::Pace,
};

/// The parameters of a post.
pub(super) struct Post<'a> {
    pub(super) family_id: &'a FamilyId,
    pub(super) author_id: &'a UserId,
    pub(super) thread_id: ThreadId,
    pub(super) new: &'a NewMessage,
    pub(super) key: Option<&'a IdempotencyKey>,
    pub(super) hash: &'a [u8; 32],
    pub(super) pace: Option<Pace>,
}

/// The result of a post.
#[derive(FromRow)]
pub(super) struct PostRow {
    #[sqlx(flatten)]
    pub(super) message: Message,
    pub(super) queued_count: i32,
    pub(super) request_hash: Option<Vec<u8>>,
    pub(super) replayed: bool,
    pub(super) due: Vec<UserId>,
    pub(super) sending: Vec<UserId>,
    pub(super) suppressed: i64,
}

/// Posts in one statement: checks membership, idempotency key and pace, numbers and inserts the message, moves
/// its author's mark, and returns who is due an SMS. It writes nothing for each recipient.
pub(super) async fn insert(tx: &mut PgConnection, post: &Post<'_>) -> Result<PostRow> {
    let file_ids: Vec<&str> = post.new.file_ids.iter().map(crate::ids::FileId::as_str).collect();
    let row = sqlx::query(concat!(
        "WITH me AS (
             SELECT tm.user_id, u.name,
                    extract(epoch FROM u.post_due_at - now())::float8 - $11 AS too_early
             FROM thread_members tm
             JOIN users u ON u.family_id = tm.family_id AND u.user_id = tm.user_id
             WHERE tm.family_id = $1 AND tm.thread_id = $2 AND tm.user_id = $3 AND tm.status = 'active'
               AND u.deactivated_at IS NULL
             -- A concurrent deactivation or erasure of the author waits for this post, or is seen by it.
             FOR NO KEY UPDATE OF u
         ), earlier AS (
             SELECT m.* FROM messages m JOIN me ON m.author_id = me.user_id
             WHERE m.family_id = $1 AND m.thread_id = $2 AND m.idempotency_key = $8
         ), recipients AS (",
        recipients!(),
        "), paced AS (
             -- Concurrent posts wait for the row's lock and see the new due time.
             UPDATE users u SET post_due_at = greatest(u.post_due_at, now()) + make_interval(secs => $10)
             FROM me
             WHERE $10::float8 IS NOT NULL AND u.family_id = $1 AND u.user_id = me.user_id
               AND coalesce(u.post_due_at, '-infinity') <= now() + make_interval(secs => $11)
               AND NOT EXISTS (SELECT FROM earlier)
             RETURNING u.user_id
         ), numbered AS (
             -- The row's lock orders the posts to a thread; their times follow that order.
             UPDATE threads t SET
                 last_seq = t.last_seq + 1,
                 last_message_at = greatest(clock_timestamp(), t.last_message_at),
                 updated_at = greatest(clock_timestamp(), t.last_message_at),
                 last_loud_seq = t.last_seq + 1,
                 last_loud_at = greatest(clock_timestamp(), t.last_message_at),
                 -- Mostly it stays, so that no index changes.
                 wake_at = CASE WHEN t.wake_at <= now() + interval '30 seconds' THEN t.wake_at
                           ELSE now() + interval '30 seconds' END
             FROM me
             WHERE t.family_id = $1 AND t.thread_id = $2 AND NOT EXISTS (SELECT FROM earlier)
               AND ($10::float8 IS NULL OR EXISTS (SELECT FROM paced))
             RETURNING t.last_seq AS seq, t.last_message_at AS created_at
         ), posted AS (
             INSERT INTO messages (family_id, thread_id, seq, message_id, author_id, body, file_ids,
                                   reply_to_id, idempotency_key, request_hash, queued_count, created_at)
             SELECT $1, $2, n.seq, $4, $3, $5, $6, $7, $8, $9, r.queued, n.created_at
             FROM numbered n CROSS JOIN recipients r
             RETURNING *
         ), read AS (
             INSERT INTO reach AS r (family_id, thread_id, user_id, last_read_seq)
             SELECT $1, $2, $3, n.seq FROM numbered n
             ON CONFLICT (family_id, thread_id, user_id) DO UPDATE SET last_read_seq = excluded.last_read_seq
         )
         SELECT m.*, me.name AS author_name, me.too_early,
                CASE WHEN m.replayed THEN 0 ELSE r.suppressed END AS suppressed,
                -- Not before the family's pace has a slot: until then the sweeper looks.
                CASE WHEN m.replayed OR p.open_at > now() THEN '{}' ELSE coalesce(r.due, '{}') END AS due,
                CASE WHEN m.replayed OR p.open_at > now() THEN '{}' ELSE coalesce(r.sending, '{}') END
                    AS sending
         FROM me
         CROSS JOIN recipients r
         LEFT JOIN sms_pace p ON p.family_id = $1
         LEFT JOIN (SELECT *, false AS replayed FROM posted
                    UNION ALL SELECT *, true FROM earlier) m ON true",
    ))
    .bind(post.family_id)
    .bind(post.thread_id)
    .bind(post.author_id)
    .bind(MessageId::new())
    .bind(&post.new.body)
    .bind(file_ids)
    .bind(post.new.reply_to_id)
    .bind(post.key.map(|key| key.0.as_str()))
    // Only used with a key.
    .bind(post.key.map(|_| post.hash.as_slice()))
    .bind(post.pace.map(Pace::every_seconds))
    .bind(post.pace.map(Pace::ahead_seconds))
    .fetch_optional(tx)
    .await
    .map_err(|error| match constraint(&error) {
        Some("messages_reply_to") => Error::UnknownReply,
        _ => error.into(),
    })?
    .ok_or(Error::ThreadNotFound)?;
    // An active member, and no message: the pace was exceeded.
    if row.try_get::<Option<i64>, _>("seq")?.is_none() {
        let seconds = row.try_get::<Option<f64>, _>("too_early")?.unwrap_or_default().max(0.0);
        return Err(Error::TooOften { retry_after: Duration::from_secs_f64(seconds) });
    }
    Ok(PostRow::from_row(&row)?)
}

/// Selects the thread's last number and the columns of each [`Message`], and then the id and name of each of
/// their authors, in rows without the last number: a page has a few authors only, and finding the name of
/// each message's was half of its time. A thread without messages gives one row of nulls, a thread that the
/// caller is not a member of no row. Numbers have no gaps, so both ends of the range are known, and no plan
/// reads more.
///
/// The range must be an index condition: before a policy is checked only leakproof expressions may be used,
/// and `coalesce` is not one (`contain_leaked_vars` in PostgreSQL).
macro_rules! history {
    (backward) => {
        history!(
            "seq < least($4, t.last_seq + 1) AND seq >= least($4, t.last_seq + 1) - $5",
            "DESC"
        )
    };
    (forward) => {
        history!("seq > $4 AND seq <= $4 + $5", "ASC")
    };
    ($range:literal, $order:literal) => {
        concat!(
            "WITH page AS MATERIALIZED (
                 -- A column for names here, so that reading the rows once more need not add one to each.
                 SELECT t.last_seq, m.*, NULL::text AS author_name
                 FROM thread_members me
                 JOIN threads t ON t.family_id = me.family_id AND t.thread_id = me.thread_id
                 LEFT JOIN LATERAL (
                     SELECT seq, author_id, message_id, body, file_ids, reply_to_id, created_at,
                            edited_at, deleted_at
                     FROM messages
                     WHERE family_id = $1 AND thread_id = $2 AND ",
            $range,
            " ORDER BY seq ",
            $order,
            " LIMIT $5
                 ) m ON true
                 WHERE me.family_id = $1 AND me.thread_id = $2 AND me.user_id = $3
                   AND me.status = 'active'
             )
             SELECT * FROM page
             UNION ALL
             SELECT NULL, NULL, user_id, NULL, NULL, NULL, NULL, NULL, NULL, NULL, name
             FROM users
             WHERE family_id = $1 AND user_id IN (SELECT author_id FROM page)"
        )
    };
}

/// Returns the thread's last number and the messages of `range`; `None` if the caller is not a member.
pub(super) async fn list(
    tx: &mut PgConnection,
    family_id: &FamilyId,
    caller: &UserId,
    thread_id: ThreadId,
    range: Range,
    limit: usize,
) -> Result<Option<(i64, Vec<Message>)>> {
    let (statement, seq) = match range {
        Range::Newest => (history!(backward), i64::MAX),
        Range::Before(cursor) => (history!(backward), cursor.seq),
        Range::After(cursor) => (history!(forward), cursor.seq),
    };
    let rows = sqlx::query(statement)
        .bind(family_id)
        .bind(thread_id)
        .bind(caller)
        .bind(seq)
        .bind(i64::try_from(limit).unwrap_or(i64::MAX))
        .fetch_all(tx)
        .await?;
    let Some(first) = rows.first() else {
        return Ok(None);
    };
    let columns = Columns::of(first)?;
    let (mut last_seq, mut messages, mut names) = (0, Vec::new(), HashMap::new());
    for row in &rows {
        if let Some(latest) = columns.last_seq(row)? {
            last_seq = latest;
            messages.extend(columns.message(row, thread_id)?);
        } else {
            let (author, name) = columns.author(row)?;
            names.insert(author, name);
        }
    }
    for message in &mut messages {
        let name = names.get(message.author_id.as_str()).copied().flatten();
        message.author_name = name.map(str::to_owned);
    }
    // `UNION ALL` promises no order.
    match range {
        Range::After(_) => messages.sort_unstable_by_key(|message| message.seq),
        Range::Newest | Range::Before(_) => {
            messages.sort_unstable_by_key(|message| Reverse(message.seq));
        }
    }
    Ok(Some((last_seq, messages)))
}

/// Returns a message by its id.
pub(super) async fn get(
    tx: &mut PgConnection,
    actor: &Actor,
    thread_id: ThreadId,
    message_id: MessageId,
) -> Result<Message> {
    let row = sqlx::query(
        "SELECT m.*, a.name AS author_name
         FROM thread_members me
         LEFT JOIN LATERAL (
             SELECT message_id, thread_id, seq, author_id, body, file_ids, reply_to_id, created_at,
                    edited_at, deleted_at
             FROM messages
             WHERE family_id = $1 AND thread_id = $2 AND message_id = $4
             LIMIT 1
         ) m ON true
         LEFT JOIN users a ON a.family_id = me.family_id AND a.user_id = m.author_id
         WHERE me.family_id = $1 AND me.thread_id = $2 AND me.user_id = $3 AND me.status = 'active'",
    )
    .bind(&actor.family)
    .bind(thread_id)
    .bind(&actor.user)
    .bind(message_id)
    .fetch_optional(tx)
    .await?
    .ok_or(Error::ThreadNotFound)?;
    row.try_get::<Option<MessageId>, _>("message_id")?.ok_or(Error::MessageNotFound)?;
    Ok(Message::from_row(&row)?)
}

/// The indices of the columns of a page, found once for all its rows: finding them by name in each row takes
/// as long as reading them.
struct Columns([usize; 11]);

impl Columns {
    fn of(row: &PgRow) -> sqlx::Result<Self> {
        let names = [
            "last_seq",
            "seq",
            "author_id",
            "message_id",
            "body",
            "file_ids",
            "reply_to_id",
            "created_at",
            "edited_at",
            "deleted_at",
            "author_name",
        ];
        let mut places = [0; 11];
        for (place, name) in places.iter_mut().zip(names) {
            *place = row.try_column(name)?.ordinal();
        }
        Ok(Self(places))
    }

    /// The thread's last number; `None` in the row of an author.
    fn last_seq(&self, row: &PgRow) -> sqlx::Result<Option<i64>> {
        row.try_get(self.0[0])
    }

    /// The message, still without its author's name; `None` in the row of a thread without messages.
    fn message(&self, row: &PgRow, thread_id: ThreadId) -> sqlx::Result<Option<Message>> {
        let [_, seq, author, id, body, files, reply, created, edited, deleted, _] = self.0;
        let Some(seq) = row.try_get(seq)? else { return Ok(None) };
        Ok(Some(Message {
            message_id: row.try_get(id)?,
            thread_id,
            seq,
            author_id: row.try_get(author)?,
            author_name: None,
            body: row.try_get(body)?,
            file_ids: row.try_get(files)?,
            reply_to_id: row.try_get(reply)?,
            created_at: row.try_get(created)?,
            edited_at: row.try_get(edited)?,
            deleted_at: row.try_get(deleted)?,
        }))
    }

    /// The id and name of an author; an erased one has no name.
    fn author<'r>(&self, row: &'r PgRow) -> sqlx::Result<(&'r str, Option<&'r str>)> {
        let [_, _, author, .., name] = self.0;
        Ok((row.try_get(author)?, row.try_get(name)?))
    }
}
