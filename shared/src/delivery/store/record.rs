//! Recording of outcomes, and what paying stores in the rows of SMS.

use sqlx::PgConnection;

use super::super::{Attempt, BACK_OFF, Lease, Outcome, Reason, Recorded};
use crate::{Result, ids::SmsId};

/// Stores the paid segments of claimed SMS: their ids `$1`, segments `$2` and families `$5`, in the month
/// `$3`, while the lease `$4` is valid.
macro_rules! note_paid {
    () => {
        "UPDATE sms s SET paid_segments = c.segments, paid_month = $3
         FROM unnest($1::uuid[], $2::int[], $5::text[]) AS c (sms_id, segments, family_id)
         WHERE s.family_id = c.family_id AND s.sms_id = c.sms_id
           AND s.state = 'sending' AND s.lease_token = $4
         RETURNING s.family_id, s.paid_segments "
    };
}
pub(crate) use note_paid;

/// The statement of [`record`], for the lease `$1`.
macro_rules! record {
    () => {
        "WITH recorded AS (
             UPDATE sms s SET
                 state = o.state,
                 reason = o.reason,
                 attempts = s.attempts - (NOT o.called)::int,
                 carrier_message_id = o.carrier_message_id,
                 segments = o.segments,
                 sent_at = CASE WHEN o.state = 'sent' THEN now() END,
                 lease_token = CASE WHEN o.state <> 'pending' THEN s.lease_token END,
                 lease_until = NULL,
                 next_attempt_at = CASE WHEN o.state = 'pending'
                     THEN now() + make_interval(secs => ($7::float8[])[least(s.attempts, cardinality($7))])
                     ELSE s.next_attempt_at END,
                 wake_at = CASE WHEN o.state = 'pending'
                     THEN now() + make_interval(secs => ($7::float8[])[least(s.attempts, cardinality($7))])
                     ELSE s.wake_at END,
                 -- Only what may have been sent is paid.
                 paid_segments = CASE WHEN o.state IN ('sent', 'unknown') THEN s.paid_segments END,
                 paid_month = CASE WHEN o.state IN ('sent', 'unknown') THEN s.paid_month END
             FROM unnest($2::uuid[], $3::text[], $4::text[], $5::text[], $6::int[],
                         $8::bool[], $9::text[], $10::bool[], $11::text[])
                      AS o (sms_id, state, reason, carrier_message_id, segments, stop_notice,
                            phone, called, family_id)
             JOIN sms before ON before.family_id = o.family_id AND before.sms_id = o.sms_id
             WHERE s.family_id = o.family_id AND s.sms_id = o.sms_id
               AND s.lease_token = $1
               AND (s.state = 'sending' OR (s.state = 'unknown' AND o.state = 'sent'))
             RETURNING s.sms_id, s.family_id, s.thread_id, s.user_id, s.kind, s.state, s.reason,
                       o.stop_notice, o.phone,
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
                 SELECT family_id, user_id, phone, bool_or(stop_notice) AS notified,
                        bool_or(reason IS NOT DISTINCT FROM 'opted_out') AS opted_out
                 FROM recorded GROUP BY family_id, user_id, phone
             ) r
             WHERE (r.notified OR r.opted_out) AND u.family_id = r.family_id
               AND u.user_id = r.user_id AND u.phone = r.phone
         )
         SELECT rec.sms_id, rec.family_id, rec.thread_id, rec.user_id,
                rec.kind = 'message' AND rec.state NOT IN ('pending', 'suppressed')
                    AND t.last_loud_seq > coalesce(r.covered_seq, 0) AS more
         FROM recorded rec
         JOIN threads t ON t.family_id = rec.family_id AND t.thread_id = rec.thread_id
         LEFT JOIN reach r ON r.family_id = rec.family_id AND r.thread_id = rec.thread_id
             AND r.user_id = rec.user_id"
    };
}

/// Writes outcomes where `lease` is still valid, and late `sent` outcomes where it had expired.
pub(in super::super) async fn record(
    tx: &mut PgConnection,
    lease: Lease,
    attempts: &[Attempt],
) -> Result<Vec<Recorded>> {
    let mut ids = Vec::with_capacity(attempts.len());
    let mut families = Vec::with_capacity(attempts.len());
    let mut phones = Vec::with_capacity(attempts.len());
    let mut calls = Vec::with_capacity(attempts.len());
    let mut states = Vec::with_capacity(attempts.len());
    let mut reasons = Vec::with_capacity(attempts.len());
    let mut carrier_ids = Vec::with_capacity(attempts.len());
    let mut segments = Vec::with_capacity(attempts.len());
    let mut stop_notices = Vec::with_capacity(attempts.len());
    for Attempt { sms, phone, called, outcome } in attempts {
        let sent = match outcome {
            Outcome::Sent { carrier_message_id, segments, stop_notice } => {
                Some((carrier_message_id.as_str(), *segments, *stop_notice))
            }
            _ => None,
        };
        ids.push(sms.sms_id);
        families.push(sms.family_id.as_str());
        phones.push(phone.e164());
        calls.push(*called);
        states.push(outcome.state().as_str());
        reasons.push(outcome.reason().map(Reason::as_str));
        carrier_ids.push(sent.map(|(id, ..)| id));
        segments.push(sent.map(|(_, segments, _)| i32::try_from(segments).unwrap_or(i32::MAX)));
        stop_notices.push(sent.is_some_and(|(.., stop_notice)| stop_notice));
    }
    let recorded = sqlx::query_as(record!())
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
pub(in super::super) async fn expire_leases(tx: &mut PgConnection, most: i64) -> Result<u64> {
    let done = sqlx::query(
        "UPDATE sms SET state = 'unknown', reason = 'lease_expired', lease_until = NULL
         WHERE (sms_id, family_id) IN (
             SELECT sms_id, family_id FROM sms
             WHERE state = 'sending' AND lease_until < now()
             ORDER BY lease_until LIMIT $1 FOR UPDATE SKIP LOCKED
         )",
    )
    .bind(most)
    .execute(tx)
    .await?;
    Ok(done.rows_affected())
}

/// Deletes up to `most` finished SMS that are older than `days`, with their links and covers, and covers
/// without an SMS. Uses the ids, which begin with the time: the oldest come first in the primary key.
pub(crate) async fn delete_old(tx: &mut PgConnection, days: i32, most: i64) -> Result<u64> {
    let done = sqlx::query(
        "WITH old AS (
             SELECT family_id, sms_id FROM sms
             WHERE sms_id < uuid_v7_floor(now() - make_interval(days => $1))
               AND state NOT IN ('pending', 'sending')
             ORDER BY sms_id LIMIT $2 FOR UPDATE SKIP LOCKED
         ), links AS (
             DELETE FROM magic_links l USING old
             WHERE l.family_id = old.family_id AND l.sms_id = old.sms_id
         ), covers AS (
             DELETE FROM sms_covers c USING old
             WHERE c.family_id = old.family_id AND c.sms_id = old.sms_id
         )
         DELETE FROM sms s USING old WHERE s.family_id = old.family_id AND s.sms_id = old.sms_id",
    )
    .bind(days)
    .bind(most)
    .execute(&mut *tx)
    .await?;
    let covers = sqlx::query(
        "WITH old AS (
             SELECT family_id, thread_id, user_id, to_seq FROM sms_covers
             WHERE sms_id IS NULL AND created_at < now() - make_interval(days => $1)
             ORDER BY created_at LIMIT $2 FOR UPDATE SKIP LOCKED
         )
         DELETE FROM sms_covers c USING old
         WHERE c.family_id = old.family_id AND c.thread_id = old.thread_id AND c.user_id = old.user_id
           AND c.to_seq = old.to_seq",
    )
    .bind(days)
    .bind(most)
    .execute(tx)
    .await?;
    // The larger: a full batch of either means that there may be more.
    Ok(done.rows_affected().max(covers.rows_affected()))
}

/// Ids of SMS, for `unnest`.
pub(super) fn sms_columns(jobs: &[crate::queue::SmsJob]) -> (Vec<SmsId>, Vec<&str>) {
    jobs.iter().map(|job| (job.sms_id, job.family_id.as_str())).unzip()
}
