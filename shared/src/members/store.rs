//! SQL statements on a user's membership of a thread.

use sqlx::PgConnection;

use super::{Membership, SmsPreference, SmsStatus};
use crate::{
    Result,
    delivery::note_read,
    ids::{FamilyId, ThreadId, UserId},
};

/// The columns of [`SmsStatus`], from a mute and an opt-out.
macro_rules! sms_status {
    ($muted_until:literal, $opted_out_at:literal) => {
        concat!(
            $opted_out_at,
            " IS NOT NULL AS opted_out, coalesce(",
            $muted_until,
            " > now(), false) AS muted, CASE WHEN ",
            $muted_until,
            " > now() THEN nullif(",
            $muted_until,
            ", 'infinity') END AS muted_until "
        )
    };
}

pub(super) async fn find_membership(
    tx: &mut PgConnection,
    family_id: &FamilyId,
    user_id: &UserId,
    thread_id: ThreadId,
) -> Result<Option<Membership>> {
    let membership = sqlx::query_as(concat!(
        "SELECT u.locale, u.time_zone, u.phone IS NOT NULL AS has_phone, coalesce(r.last_read_seq, 0) AS last_read_seq, ",
        sms_status!("tm.muted_until", "u.opted_out_at"),
        "FROM thread_members tm
         JOIN users u ON u.family_id = tm.family_id AND u.user_id = tm.user_id
         LEFT JOIN reach r ON r.family_id = tm.family_id AND r.thread_id = tm.thread_id
             AND r.user_id = tm.user_id
         WHERE tm.family_id = $1 AND tm.thread_id = $2 AND tm.user_id = $3 AND tm.status = 'active'",
    ))
    .bind(family_id)
    .bind(thread_id)
    .bind(user_id)
    .fetch_optional(tx)
    .await?;
    Ok(membership)
}

/// Moves the read mark forward, and marks the SMS about the messages as read: of at most the last thousand,
/// and always of the last hundred, since posting moves the mark without marking SMS.
pub(super) async fn mark_read(
    tx: &mut PgConnection,
    family_id: &FamilyId,
    user_id: &UserId,
    thread_id: ThreadId,
    seq: i64,
) -> Result<bool> {
    let found: Option<i64> = sqlx::query_scalar(concat!(
        "WITH me AS (
             -- Both ends as columns: with a policy, an expression in the condition is no index range,
             -- since an error in it might reveal hidden rows.
             SELECT earlier, seq, greatest(least(earlier, seq - 100), seq - 1000) AS noted_after
             FROM (
                 SELECT coalesce(r.last_read_seq, 0) AS earlier,
                        greatest(r.last_read_seq, least($4, t.last_seq)) AS seq
                 FROM thread_members tm
                 LEFT JOIN reach r ON r.family_id = tm.family_id AND r.thread_id = tm.thread_id
                     AND r.user_id = tm.user_id
                 JOIN threads t ON t.family_id = tm.family_id AND t.thread_id = tm.thread_id
                 WHERE tm.family_id = $1 AND tm.thread_id = $2 AND tm.user_id = $3
                   AND tm.status = 'active'
             ) mark
         ), moved AS (
             INSERT INTO reach AS r (family_id, thread_id, user_id, last_read_seq, read_at)
             SELECT $1, $2, $3, me.seq, now() FROM me WHERE me.seq > me.earlier
             ON CONFLICT (family_id, thread_id, user_id) DO UPDATE SET
                 last_read_seq = greatest(r.last_read_seq, excluded.last_read_seq), read_at = now()
         ), noted AS (",
        note_read!(),
        ")
         SELECT seq FROM me",
    ))
    .bind(family_id)
    .bind(thread_id)
    .bind(user_id)
    .bind(seq)
    .fetch_optional(tx)
    .await?;
    Ok(found.is_some())
}

pub(super) async fn set_sms_preference(
    tx: &mut PgConnection,
    family_id: &FamilyId,
    user_id: &UserId,
    thread_id: ThreadId,
    preference: SmsPreference,
) -> Result<Option<SmsStatus>> {
    let (state, hours) = match preference {
        SmsPreference::On => ("on", None),
        SmsPreference::Muted { hours } => ("muted", hours),
        SmsPreference::Off => ("off", None),
    };
    let status = sqlx::query_as(concat!(
        "WITH account AS (
             -- The user before the membership: provisioning locks them in the same order.
             UPDATE users u SET updated_at = now(),
                 -- What was posted while they had opted out is owed no more.
                 texts_from = CASE WHEN $4 = 'on' AND u.opted_out_at IS NOT NULL THEN now()
                              ELSE u.texts_from END,
                 opted_out_at = CASE $4
                     WHEN 'on' THEN NULL
                     WHEN 'off' THEN coalesce(u.opted_out_at, now())
                     ELSE u.opted_out_at
                 END
             FROM thread_members tm
             WHERE u.family_id = $1 AND u.user_id = $3 AND tm.family_id = $1 AND tm.thread_id = $2
               AND tm.user_id = $3 AND tm.status = 'active'
             RETURNING u.opted_out_at
         ), member AS (
             UPDATE thread_members SET
                 -- Also of a mute that ran out: what was posted during it stays owed to no one.
                 texts_from = CASE WHEN $4 = 'on' AND muted_until IS NOT NULL
                                   THEN greatest(texts_from, least(muted_until, now()))
                                   ELSE texts_from END,
                 muted_until = CASE $4
                     WHEN 'on' THEN NULL
                     WHEN 'muted' THEN coalesce(now() + make_interval(hours => $5), 'infinity')
                     ELSE muted_until
                 END
             FROM account
             WHERE family_id = $1 AND thread_id = $2 AND user_id = $3 AND status = 'active'
             RETURNING muted_until
         )
         SELECT ",
        sms_status!("member.muted_until", "account.opted_out_at"),
        "FROM member CROSS JOIN account",
    ))
    .bind(family_id)
    .bind(thread_id)
    .bind(user_id)
    .bind(state)
    .bind(hours)
    .fetch_optional(tx)
    .await?;
    Ok(status)
}
