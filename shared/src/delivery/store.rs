//! All SQL statements that write notifications.
//!
//! Statements of other modules that write them too take that part from a macro here.

use std::time::Duration;

use sqlx::{FromRow, PgConnection, Row};

use super::{
    Attempt, BACK_OFF, Claimed, Delivery, DeliveryState, LEASE, LINK_LIFE, Lease, Outcome, Reason,
    Settled,
    policy::{claimed_state, not_to_be_sent},
};
use crate::{
    Error, Result,
    ids::{FamilyId, LinkId, MessageId, NotificationId, ThreadId, UserId},
    queue::{Job, NotificationJob},
};

/// How long after a wake-up call the next one is due.
const WAKE_AGAIN: Duration = Duration::from_mins(5);
/// Maximum rows that one statement of the sweeper changes.
const SWEEP_MAX: i64 = 500;

/// Inserts the notifications of a post: of the message `posted` to `recipients`, in the thread `$2` of the
/// family `$1`.
macro_rules! queue {
    () => {
        "INSERT INTO notifications (family_id, thread_id, message_id, recipient_id, state, reason)
         SELECT $1, $2, p.message_id, r.user_id,
                CASE WHEN r.reason IS NULL THEN 'pending' ELSE 'suppressed' END, r.reason
         FROM posted p CROSS JOIN recipients r
         RETURNING notification_id, state "
    };
}
pub(crate) use queue;

/// Marks the notifications of the member `$3` as read, for the messages of the thread `$2` after
/// `me.noted_after` up to `me.seq`.
macro_rules! note_read {
    () => {
        "UPDATE notifications n SET read_at = now()
         FROM me
         JOIN messages m ON m.family_id = $1 AND m.thread_id = $2 AND m.seq <= me.seq
             AND m.seq > me.noted_after
         WHERE n.message_id = m.message_id AND n.recipient_id = $3 AND n.family_id = $1
           AND n.read_at IS NULL "
    };
}
pub(crate) use note_read;

/// Marks the link of the notification `bound.notification_id` as opened.
macro_rules! note_opened {
    () => {
        "UPDATE notifications n SET opened_at = coalesce(n.opened_at, now())
         FROM bound
         WHERE n.family_id = bound.family_id AND n.notification_id = bound.notification_id "
    };
}
pub(crate) use note_opened;

/// Stores the paid segments of claimed notifications: their ids `$1`, segments `$2` and families `$5`, in
/// the month `$3`, while the lease `$4` is valid.
macro_rules! note_paid {
    () => {
        "UPDATE notifications n SET paid_segments = c.segments, paid_month = $3
         FROM unnest($1::uuid[], $2::int[], $5::text[]) AS c (notification_id, segments, family_id)
         WHERE n.family_id = c.family_id AND n.notification_id = c.notification_id
           AND n.state = 'sending' AND n.lease_token = $4
         RETURNING n.family_id, n.paid_segments "
    };
}
pub(crate) use note_paid;

/// The deliveries of the message `m` of the family `$1`, as JSON of [`Delivery`].
macro_rules! deliveries_json {
    () => {
        "SELECT coalesce(json_agg(json_build_object(
                    'recipient_id', n.recipient_id, 'state', n.state, 'reason', n.reason,
                    'attempts', n.attempts, 'segments', n.segments, 'sent_at', n.sent_at,
                    'opened_at', n.opened_at, 'read_at', n.read_at
                ) ORDER BY n.recipient_id), '[]')
         FROM notifications n
         WHERE n.family_id = $1 AND n.message_id = m.message_id "
    };
}
pub(crate) use deliveries_json;

/// Sets due notifications from `pending` to `sending`, or to the final state of those not to be sent,
/// inserts the links, and returns both groups.
pub(super) async fn claim(
    tx: &mut PgConnection,
    lease: Lease,
    jobs: &[NotificationJob],
    stop_notices: Option<Duration>,
) -> Result<(Vec<Claimed>, Vec<Settled>)> {
    let ids: Vec<NotificationId> = jobs.iter().map(|job| job.notification_id).collect();
    let families: Vec<&str> = jobs.iter().map(|job| job.family_id.as_str()).collect();
    let links: Vec<Vec<u8>> = jobs.iter().map(|_| LinkId::new().as_bytes().to_vec()).collect();
    let rows = sqlx::query(concat!(
        "WITH due AS (
             SELECT n.notification_id, n.family_id, job.link, tm.access_epoch, u.phone, u.locale,
                    coalesce(u.stop_notice_at, '-infinity') < now() - make_interval(secs => $7)
                        IS TRUE AS stop_notice,
                    f.sms_monthly_cap_segments AS monthly_cap, t.title AS thread_title,
                    t.kind AS thread_kind, author.name AS sender, m.body,
                    coalesce(cardinality(m.file_ids), 0) AS file_count, ",
        not_to_be_sent!(),
        "AS reason
             FROM unnest($1::uuid[], $2::text[], $3::bytea[]) AS job (notification_id, family_id, link)
             JOIN notifications n
                 ON n.notification_id = job.notification_id AND n.family_id = job.family_id
             JOIN thread_members tm ON tm.family_id = n.family_id AND tm.thread_id = n.thread_id
                 AND tm.user_id = n.recipient_id
             JOIN families f ON f.family_id = n.family_id
             CROSS JOIN LATERAL (
                 SELECT coalesce(f.sms_regions, CASE WHEN f.region <> '' THEN ARRAY[f.region] END)
                            AS regions
             ) allowed
             JOIN threads t ON t.family_id = n.family_id AND t.thread_id = n.thread_id
             JOIN users u ON u.family_id = n.family_id AND u.user_id = n.recipient_id
             -- Lateral, so that each is found by its key: a plain join may read whole threads.
             LEFT JOIN LATERAL (
                 SELECT family_id, author_id, body, file_ids, deleted_at FROM messages
                 WHERE thread_id = n.thread_id AND message_id = n.message_id LIMIT 1
             ) m ON true
             LEFT JOIN users author ON author.family_id = m.family_id AND author.user_id = m.author_id
             WHERE n.state = 'pending' AND n.next_attempt_at <= now()
             -- Rows that another worker is claiming stay with that worker.
             FOR UPDATE OF n SKIP LOCKED
         ), claimed AS (
             UPDATE notifications n SET
                 state = due.state,
                 reason = due.reason,
                 attempts = n.attempts + CASE WHEN due.state = 'sending' THEN 1 ELSE 0 END,
                 lease_token = CASE WHEN due.state = 'sending' THEN $4 END,
                 lease_until = CASE WHEN due.state = 'sending' THEN now() + make_interval(secs => $5) END
             FROM (SELECT *, ",
        claimed_state!(),
        "AS state FROM due) due
             WHERE n.family_id = due.family_id AND n.notification_id = due.notification_id
             RETURNING n.notification_id, n.family_id, n.thread_id, n.message_id, n.recipient_id,
                       n.state, n.reason, n.attempts, due.link, due.access_epoch, due.phone, due.locale,
                       due.stop_notice, due.monthly_cap, due.thread_title, due.thread_kind, due.sender, due.body,
                       due.file_count
         ), linked AS (
             INSERT INTO magic_links (jti, family_id, thread_id, user_id, notification_id,
                                      access_epoch, expires_at)
             SELECT link, family_id, thread_id, recipient_id, notification_id, access_epoch,
                    now() + make_interval(secs => $6)
             FROM claimed WHERE state = 'sending'
             ON CONFLICT (notification_id) DO UPDATE SET
                 jti = excluded.jti, access_epoch = excluded.access_epoch,
                 expires_at = excluded.expires_at, created_at = now()
         )
         SELECT * FROM claimed",
    ))
    .bind(ids)
    .bind(families)
    .bind(links)
    .bind(lease.0)
    .bind(LEASE.as_secs_f64())
    .bind(LINK_LIFE.as_secs_f64())
    .bind(stop_notices.map(|every| every.as_secs_f64()))
    .fetch_all(tx)
    .await?;
    let (mut claimed, mut settled) = (Vec::with_capacity(rows.len()), Vec::new());
    for row in &rows {
        if row.try_get::<DeliveryState, _>("state")? == DeliveryState::Sending {
            claimed.push(Claimed::from_row(row)?);
        } else {
            settled.push(Settled::from_row(row)?);
        }
    }
    Ok((claimed, settled))
}

/// Writes outcomes where `lease` is still valid, and late `sent` outcomes where it had expired.
pub(super) async fn record(
    tx: &mut PgConnection,
    lease: Lease,
    attempts: &[Attempt],
) -> Result<Vec<NotificationId>> {
    let mut ids = Vec::with_capacity(attempts.len());
    let mut families = Vec::with_capacity(attempts.len());
    let mut phones = Vec::with_capacity(attempts.len());
    let mut calls = Vec::with_capacity(attempts.len());
    let mut states = Vec::with_capacity(attempts.len());
    let mut reasons = Vec::with_capacity(attempts.len());
    let mut carrier_ids = Vec::with_capacity(attempts.len());
    let mut segments = Vec::with_capacity(attempts.len());
    let mut stop_notices = Vec::with_capacity(attempts.len());
    for Attempt { notification_id, family_id, phone, called, outcome } in attempts {
        let sent = match outcome {
            Outcome::Sent { carrier_message_id, segments, stop_notice } => {
                Some((carrier_message_id.as_str(), *segments, *stop_notice))
            }
            _ => None,
        };
        ids.push(*notification_id);
        families.push(family_id.as_str());
        phones.push(phone.e164());
        calls.push(*called);
        states.push(outcome.state().as_str());
        reasons.push(outcome.reason().map(Reason::as_str));
        carrier_ids.push(sent.map(|(id, ..)| id));
        segments.push(sent.map(|(_, segments, _)| i32::try_from(segments).unwrap_or(i32::MAX)));
        stop_notices.push(sent.is_some_and(|(.., stop_notice)| stop_notice));
    }
    let recorded = sqlx::query_scalar(
        "WITH recorded AS (
             UPDATE notifications n SET
                 state = o.state,
                 reason = o.reason,
                 attempts = n.attempts - (NOT o.called)::int,
                 carrier_message_id = o.carrier_message_id,
                 segments = o.segments,
                 sent_at = CASE WHEN o.state = 'sent' THEN now() END,
                 lease_token = CASE WHEN o.state <> 'pending' THEN n.lease_token END,
                 lease_until = NULL,
                 next_attempt_at = CASE WHEN o.state = 'pending'
                     THEN now() + make_interval(secs => ($7::float8[])[least(n.attempts, cardinality($7))])
                     ELSE n.next_attempt_at END,
                 wake_at = CASE WHEN o.state = 'pending'
                     THEN now() + make_interval(secs => ($7::float8[])[least(n.attempts, cardinality($7))])
                     ELSE n.wake_at END,
                 -- Only what may have been sent is paid.
                 paid_segments = CASE WHEN o.state IN ('sent', 'unknown') THEN n.paid_segments END,
                 paid_month = CASE WHEN o.state IN ('sent', 'unknown') THEN n.paid_month END
             FROM unnest($2::uuid[], $3::text[], $4::text[], $5::text[], $6::int[],
                         $8::bool[], $9::text[], $10::bool[], $11::text[])
                      AS o (notification_id, state, reason, carrier_message_id, segments, stop_notice,
                            phone, called, family_id)
             JOIN notifications before ON before.family_id = o.family_id
                 AND before.notification_id = o.notification_id
             WHERE n.family_id = o.family_id AND n.notification_id = o.notification_id
               AND n.lease_token = $1
               AND (n.state = 'sending' OR (n.state = 'unknown' AND o.state = 'sent'))
             RETURNING n.notification_id, n.family_id, n.recipient_id, n.reason, o.stop_notice, o.phone,
                       CASE WHEN o.state NOT IN ('sent', 'unknown') THEN before.paid_segments END
                           AS given_back,
                       before.paid_month
         ), refunded AS (
             UPDATE sms_spending s SET segments = greatest(s.segments - r.segments, 0)
             FROM (
                 SELECT family_id, paid_month, sum(given_back)::int AS segments
                 FROM recorded WHERE given_back > 0 GROUP BY family_id, paid_month
             ) r
             WHERE s.family_id = r.family_id AND s.month = r.paid_month
         ), recipients AS (
             -- Grouped: of two changes to one row in a statement, one would be lost.
             UPDATE users u SET
                 stop_notice_at = CASE WHEN r.notified THEN now() ELSE u.stop_notice_at END,
                 opted_out_at =
                     CASE WHEN r.opted_out THEN coalesce(u.opted_out_at, now()) ELSE u.opted_out_at END,
                 updated_at = CASE WHEN r.opted_out THEN now() ELSE u.updated_at END
             FROM (
                 SELECT family_id, recipient_id, phone, bool_or(stop_notice) AS notified,
                        bool_or(reason IS NOT DISTINCT FROM 'opted_out') AS opted_out
                 FROM recorded GROUP BY family_id, recipient_id, phone
             ) r
             WHERE (r.notified OR r.opted_out) AND u.family_id = r.family_id
               AND u.user_id = r.recipient_id AND u.phone = r.phone
         )
         SELECT notification_id FROM recorded",
    )
    .bind(lease.0)
    .bind(ids)
    .bind(states)
    .bind(reasons)
    .bind(carrier_ids)
    .bind(segments)
    .bind(BACK_OFF.map(|delay| delay.as_secs_f64()).to_vec())
    .bind(stop_notices)
    .bind(phones)
    .bind(calls)
    .bind(families)
    .fetch_all(tx)
    .await?;
    Ok(recorded)
}

/// Sets `sending` with an expired lease to `unknown`: the SMS may have been sent. The lease's token stays,
/// so that its worker can still record `sent`.
pub(super) async fn expire_leases(tx: &mut PgConnection) -> Result<u64> {
    let done = sqlx::query(
        "UPDATE notifications SET state = 'unknown', reason = 'lease_expired', lease_until = NULL
         WHERE (family_id, notification_id) IN (
             SELECT family_id, notification_id FROM notifications
             WHERE state = 'sending' AND lease_until < now()
             ORDER BY lease_until LIMIT $1 FOR UPDATE SKIP LOCKED
         )",
    )
    .bind(SWEEP_MAX)
    .execute(tx)
    .await?;
    Ok(done.rows_affected())
}

/// Sets waiting notifications past their expiry to `failed`.
pub(super) async fn expire_unsent(tx: &mut PgConnection) -> Result<u64> {
    let done = sqlx::query(
        "UPDATE notifications SET state = 'failed', reason = 'expired'
         WHERE (family_id, notification_id) IN (
             SELECT family_id, notification_id FROM notifications
             WHERE state IN ('pending', 'held') AND wake_at <= now() AND expires_at <= now()
             ORDER BY wake_at LIMIT $1 FOR UPDATE SKIP LOCKED
         )",
    )
    .bind(SWEEP_MAX)
    .execute(tx)
    .await?;
    Ok(done.rows_affected())
}

/// Returns how long the oldest due notification has waited.
pub(super) async fn outbox_age(tx: &mut PgConnection) -> Result<Duration> {
    // Not by `wake_at`, which moves with every wake-up call.
    let seconds: f64 = sqlx::query_scalar(
        "SELECT coalesce(extract(epoch FROM now() - min(next_attempt_at)), 0)::float8
         FROM notifications WHERE state = 'pending' AND next_attempt_at <= now()",
    )
    .fetch_one(tx)
    .await?;
    Ok(Duration::from_secs_f64(seconds.max(0.0)))
}

/// Returns jobs of notifications with a due wake-up call, and schedules their next one.
pub(super) async fn take_due(tx: &mut PgConnection) -> Result<Vec<Job>> {
    let due: Vec<(FamilyId, NotificationId)> = sqlx::query_as(
        "UPDATE notifications SET state = 'pending', wake_at = now() + make_interval(secs => $2)
         WHERE (family_id, notification_id) IN (
             SELECT family_id, notification_id FROM notifications
             WHERE state IN ('pending', 'held') AND wake_at <= now() AND next_attempt_at <= now()
               AND expires_at > now()
             ORDER BY wake_at LIMIT $1 FOR UPDATE SKIP LOCKED
         )
         RETURNING family_id, notification_id",
    )
    .bind(SWEEP_MAX)
    .bind(WAKE_AGAIN.as_secs_f64())
    .fetch_all(tx)
    .await?;
    Ok(due.into_iter().map(|(family_id, id)| Job::notification(family_id, id)).collect())
}

/// Makes the wake-up calls due again that the queue did not accept.
pub(super) async fn put_back(tx: &mut PgConnection, jobs: &[Job]) -> Result<()> {
    let job = |job: &Job| match job {
        Job::Notification(job) => Some((job.notification_id, job.family_id.as_str().to_owned())),
        Job::LinkRequest(_) => None,
    };
    let (ids, families): (Vec<NotificationId>, Vec<String>) = jobs.iter().filter_map(job).unzip();
    sqlx::query(
        "UPDATE notifications n SET wake_at = now()
         FROM unnest($1::uuid[], $2::text[]) AS job (notification_id, family_id)
         WHERE n.family_id = job.family_id AND n.notification_id = job.notification_id
           AND n.state = 'pending'",
    )
    .bind(ids)
    .bind(families)
    .execute(tx)
    .await?;
    Ok(())
}

/// Whether a member's queued link is waiting for a retry; `None` if no link is queued.
pub(crate) async fn find_fresh_link(
    tx: &mut PgConnection,
    family_id: &FamilyId,
    thread_id: ThreadId,
    user_id: &UserId,
) -> Result<Option<bool>> {
    let waits = sqlx::query_scalar(
        "SELECT state = 'pending' AND next_attempt_at > now() FROM notifications
         WHERE family_id = $1 AND recipient_id = $3 AND thread_id = $2 AND kind = 'link'
           AND state IN ('pending', 'sending') AND expires_at > now()
         ORDER BY created_at DESC LIMIT 1",
    )
    .bind(family_id)
    .bind(thread_id)
    .bind(user_id)
    .fetch_optional(tx)
    .await?;
    Ok(waits)
}

/// Returns a member's queued link, and whether it was waiting for a retry. If so, a new request makes it due
/// at once.
pub(crate) async fn hurry_fresh_link(
    tx: &mut PgConnection,
    family_id: &FamilyId,
    thread_id: ThreadId,
    user_id: &UserId,
) -> Result<Option<(NotificationId, bool)>> {
    let found = sqlx::query_as(
        "WITH found AS (
             SELECT notification_id, state = 'pending' AND next_attempt_at > now() AS waits
             FROM notifications
             WHERE family_id = $1 AND recipient_id = $3 AND thread_id = $2 AND kind = 'link'
               AND state IN ('pending', 'sending') AND expires_at > now()
             ORDER BY created_at DESC LIMIT 1
         ), hurried AS (
             UPDATE notifications n SET next_attempt_at = now(), wake_at = now() + interval '30 seconds'
             FROM found
             WHERE n.family_id = $1 AND n.notification_id = found.notification_id AND found.waits
         )
         SELECT notification_id, waits FROM found",
    )
    .bind(family_id)
    .bind(thread_id)
    .bind(user_id)
    .fetch_optional(tx)
    .await?;
    Ok(found)
}

/// Inserts a notification that is only a link. It expires after an hour, since it was requested just now.
pub(crate) async fn insert_fresh_link(
    tx: &mut PgConnection,
    family_id: &FamilyId,
    thread_id: ThreadId,
    user_id: &UserId,
) -> Result<NotificationId> {
    let id = sqlx::query_scalar(
        "INSERT INTO notifications (family_id, thread_id, recipient_id, kind, state, expires_at)
         VALUES ($1, $2, $3, 'link', 'pending', now() + interval '1 hour')
         RETURNING notification_id",
    )
    .bind(family_id)
    .bind(thread_id)
    .bind(user_id)
    .fetch_one(tx)
    .await?;
    Ok(id)
}

/// Cancels waiting notifications of a deactivated user or, with `None`, of all users of a family.
pub(crate) async fn cancel_waiting(
    tx: &mut PgConnection,
    family_id: &FamilyId,
    user_id: Option<&UserId>,
) -> Result<()> {
    sqlx::query(
        "UPDATE notifications SET state = 'cancelled', reason = 'deactivated'
         WHERE family_id = $1 AND ($2::text IS NULL OR recipient_id = $2)
           AND state IN ('pending', 'held')",
    )
    .bind(family_id)
    .bind(user_id)
    .execute(tx)
    .await?;
    Ok(())
}

/// Cancels waiting notifications about these deleted messages.
pub(crate) async fn cancel_about(
    tx: &mut PgConnection,
    family_id: &FamilyId,
    messages: &[MessageId],
) -> Result<()> {
    sqlx::query(
        "UPDATE notifications SET state = 'cancelled', reason = 'message_deleted'
         WHERE family_id = $1 AND message_id = ANY($2) AND state IN ('pending', 'held')",
    )
    .bind(family_id)
    .bind(messages)
    .execute(tx)
    .await?;
    Ok(())
}

/// Deletes up to `most` finished notifications that are older than `days`, with their links. Uses the ids,
/// which begin with the time: the oldest come first in the primary key.
pub(crate) async fn delete_old(tx: &mut PgConnection, days: i32, most: i64) -> Result<u64> {
    let done = sqlx::query(
        "WITH old AS (
             SELECT family_id, notification_id FROM notifications
             WHERE notification_id < uuid_v7_floor(now() - make_interval(days => $1))
               AND state NOT IN ('pending', 'sending', 'held')
             ORDER BY notification_id LIMIT $2 FOR UPDATE SKIP LOCKED
         ), links AS (
             DELETE FROM magic_links l USING old
             WHERE l.family_id = old.family_id AND l.notification_id = old.notification_id
         )
         DELETE FROM notifications n USING old
         WHERE n.family_id = old.family_id AND n.notification_id = old.notification_id",
    )
    .bind(days)
    .bind(most)
    .execute(tx)
    .await?;
    Ok(done.rows_affected())
}

/// Returns the deliveries of a message in a thread of the caller.
pub(super) async fn list_deliveries(
    tx: &mut PgConnection,
    family_id: &FamilyId,
    caller: &UserId,
    thread_id: ThreadId,
    message_id: MessageId,
) -> Result<Vec<Delivery>> {
    let rows = sqlx::query(
        "SELECT m.message_id, n.recipient_id, n.state, n.reason, n.attempts, n.segments, n.sent_at,
                n.opened_at, n.read_at
         FROM thread_members me
         LEFT JOIN messages m ON m.family_id = me.family_id AND m.thread_id = me.thread_id
             AND m.message_id = $4
         LEFT JOIN notifications n ON n.family_id = m.family_id AND n.message_id = m.message_id
         WHERE me.family_id = $1 AND me.thread_id = $2 AND me.user_id = $3 AND me.status = 'active'
         ORDER BY n.recipient_id",
    )
    .bind(family_id)
    .bind(thread_id)
    .bind(caller)
    .bind(message_id)
    .fetch_all(tx)
    .await?;
    let first = rows.first().ok_or(Error::ThreadNotFound)?;
    first.try_get::<Option<MessageId>, _>("message_id")?.ok_or(Error::MessageNotFound)?;
    if first.try_get::<Option<UserId>, _>("recipient_id")?.is_none() {
        return Ok(Vec::new());
    }
    Ok(rows.iter().map(Delivery::from_row).collect::<Result<_, _>>()?)
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    /// Finds the files below `folder` with a statement, or a part of one, that writes notifications.
    fn writers(folder: &Path, found: &mut Vec<String>) {
        for entry in fs::read_dir(folder).expect("the source") {
            let path = entry.expect("a file").path();
            if path.is_dir() {
                writers(&path, found);
                continue;
            }
            let text = fs::read_to_string(&path).expect("a source file").to_lowercase();
            let words: Vec<&str> = text
                .split(|c: char| !c.is_alphanumeric() && c != '_')
                .filter(|w| !w.is_empty())
                .collect();
            let writes = words.windows(3).any(|words| {
                let [before, verb, object] = words else { return false };
                *object == "notifications"
                    && match *verb {
                        "into" => ["insert", "merge"].contains(before),
                        "from" => *before == "delete",
                        "only" => *before == "update",
                        verb => ["update", "truncate", "copy"].contains(&verb),
                    }
            });
            if writes {
                found.push(path.display().to_string());
            }
        }
    }

    #[test]
    fn no_other_module_writes_notifications() {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let mut found = Vec::new();
        writers(&source, &mut found);
        assert_eq!(found, [source.join("delivery/store.rs").display().to_string()]);
    }
}
