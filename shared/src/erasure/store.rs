//! SQL statements of erasures.

use sqlx::PgConnection;

use super::ErasureScope;
use crate::{
    Error, Result,
    ids::{FamilyId, UserId},
    phone::PhoneNumber,
};

/// Messages of a thread in one batch, which takes at most some hundred milliseconds.
const BATCH: i64 = 2000;

/// Empties a message: its author and times stay.
macro_rules! emptied {
    () => {
        "body = NULL, file_ids = '{}', idempotency_key = NULL, request_hash = NULL,
         deleted_at = coalesce(m.deleted_at, now()) "
    };
}

pub(super) async fn forget_family(tx: &mut PgConnection, family_id: &FamilyId) -> Result<()> {
    let done = sqlx::query(
        "UPDATE families SET name = NULL, region = NULL, sms_regions = NULL, updated_at = now()
         WHERE family_id = $1",
    )
    .bind(family_id)
    .execute(&mut *tx)
    .await?;
    if done.rows_affected() == 0 {
        return Err(Error::FamilyNotFound);
    }
    sqlx::query("UPDATE threads SET title = NULL WHERE family_id = $1 AND title IS NOT NULL")
        .bind(family_id)
        .execute(tx)
        .await?;
    Ok(())
}

/// Deactivates users and clears everything but their ids. Returns their former phone numbers.
pub(super) async fn forget_users(
    tx: &mut PgConnection,
    family_id: &FamilyId,
    user_id: Option<&UserId>,
) -> Result<Vec<(UserId, Option<PhoneNumber>)>> {
    let users: Vec<(UserId, Option<PhoneNumber>)> = sqlx::query_as(
        "WITH before AS (
             -- In the order in which creating a thread locks them.
             SELECT user_id, phone FROM users
             WHERE family_id = $1 AND ($2::text IS NULL OR user_id = $2)
             ORDER BY user_id FOR UPDATE
         )
         UPDATE users u SET
             name = NULL, phone = NULL, locale = NULL, time_zone = NULL, quiet_from = NULL,
             quiet_to = NULL, opted_out_at = NULL, stop_notice_at = NULL, phone_region = NULL,
             post_due_at = NULL, texts_from = NULL,
             deactivated_at = coalesce(u.deactivated_at, now()), updated_at = now()
         FROM before
         WHERE u.family_id = $1 AND u.user_id = before.user_id
         RETURNING u.user_id, before.phone",
    )
    .bind(family_id)
    .bind(user_id)
    .fetch_all(&mut *tx)
    .await?;
    if users.is_empty() && user_id.is_some() {
        return Err(Error::UserNotFound);
    }
    sqlx::query(
        "UPDATE thread_members SET muted_until = NULL, texts_from = NULL
         WHERE family_id = $1 AND ($2::text IS NULL OR user_id = $2)
           AND (muted_until IS NOT NULL OR texts_from IS NOT NULL)",
    )
    .bind(family_id)
    .bind(user_id)
    .execute(&mut *tx)
    .await?;
    sqlx::query(
        "DELETE FROM thread_paces WHERE family_id = $1 AND ($2::text IS NULL OR user_id = $2)",
    )
    .bind(family_id)
    .bind(user_id)
    .execute(tx)
    .await?;
    Ok(users)
}

/// Stores the ranges of messages, by thread, that have to be emptied.
pub(super) async fn insert_erasures(
    tx: &mut PgConnection,
    family_id: &FamilyId,
    user_id: Option<&UserId>,
) -> Result<()> {
    let statement = match user_id {
        Some(_) => {
            "INSERT INTO erasures (family_id, thread_id, user_id, up_to_seq)
             SELECT t.family_id, t.thread_id, tm.user_id, t.last_seq
             FROM thread_members tm
             JOIN threads t ON t.family_id = tm.family_id AND t.thread_id = tm.thread_id
             WHERE tm.family_id = $1 AND tm.user_id = $2 AND t.last_seq > 0
             ON CONFLICT ON CONSTRAINT erasures_stretch DO UPDATE SET up_to_seq = excluded.up_to_seq"
        }
        None => {
            "INSERT INTO erasures (family_id, thread_id, user_id, up_to_seq)
             SELECT t.family_id, t.thread_id, $2, t.last_seq
             FROM threads t WHERE t.family_id = $1 AND t.last_seq > 0
             ON CONFLICT ON CONSTRAINT erasures_stretch DO UPDATE SET up_to_seq = excluded.up_to_seq"
        }
    };
    sqlx::query(statement).bind(family_id).bind(user_id).execute(tx).await?;
    Ok(())
}

pub(super) async fn delete_links(
    tx: &mut PgConnection,
    family_id: &FamilyId,
    user_id: Option<&UserId>,
) -> Result<()> {
    sqlx::query(
        "DELETE FROM magic_links WHERE family_id = $1 AND ($2::text IS NULL OR user_id = $2)",
    )
    .bind(family_id)
    .bind(user_id)
    .execute(tx)
    .await?;
    Ok(())
}

/// Deletes the link requests for these numbers.
pub(super) async fn delete_requests(tx: &mut PgConnection, phones: &[PhoneNumber]) -> Result<()> {
    if phones.is_empty() {
        return Ok(());
    }
    // A number is '+' and digits. The policy selects the rows, because the API's role may not read them for
    // a condition.
    let phones: Vec<&str> = phones.iter().map(PhoneNumber::e164).collect();
    sqlx::query("SELECT set_config('app.phones', $1, true)")
        .bind(phones.join(","))
        .execute(&mut *tx)
        .await?;
    sqlx::query("DELETE FROM link_requests").execute(tx).await?;
    Ok(())
}

/// Empties the next batch of messages. Returns `false` if there is none that is not locked.
pub(super) async fn empty_some(tx: &mut PgConnection, scope: ErasureScope<'_>) -> Result<bool> {
    let found: Option<bool> = sqlx::query_scalar(concat!(
        "WITH stretch AS (
             SELECT erasure_id, family_id, thread_id, user_id, done_seq,
                    least(done_seq + $3, up_to_seq) AS end_seq, done_seq + $3 >= up_to_seq AS is_last
             FROM erasures
             WHERE ($1::text IS NULL OR family_id = $1)
               AND (NOT $4 OR user_id IS NOT DISTINCT FROM $2)
             ORDER BY erasure_id LIMIT 1 FOR UPDATE SKIP LOCKED
         ), emptied AS (
             UPDATE messages m SET ",
        emptied!(),
        "    FROM stretch s
             WHERE m.family_id = s.family_id AND m.thread_id = s.thread_id
               AND m.seq > s.done_seq AND m.seq <= s.end_seq
               AND (s.user_id IS NULL OR m.author_id = s.user_id)
               -- Empty messages are not written again.
               AND (m.deleted_at IS NULL OR m.body IS NOT NULL OR m.file_ids <> '{}'
                    OR m.idempotency_key IS NOT NULL OR m.request_hash IS NOT NULL)
         ), moved AS (
             UPDATE erasures e SET done_seq = s.end_seq FROM stretch s
             WHERE e.erasure_id = s.erasure_id AND NOT s.is_last
         ), done AS (
             DELETE FROM erasures e USING stretch s WHERE e.erasure_id = s.erasure_id AND s.is_last
         )
         SELECT is_last FROM stretch",
    ))
    .bind(scope.map(|(family_id, _)| family_id))
    .bind(scope.and_then(|(_, user_id)| user_id))
    .bind(BATCH)
    .bind(scope.is_some())
    .fetch_optional(tx)
    .await?;
    Ok(found.is_some())
}

/// Whether batches are left, including those that another transaction has locked.
pub(super) async fn has_pending(
    tx: &mut PgConnection,
    family_id: &FamilyId,
    user_id: Option<&UserId>,
) -> Result<bool> {
    let left = sqlx::query_scalar(
        "SELECT EXISTS (SELECT FROM erasures
                        WHERE family_id = $1 AND user_id IS NOT DISTINCT FROM $2)",
    )
    .bind(family_id)
    .bind(user_id)
    .fetch_one(tx)
    .await?;
    Ok(left)
}
