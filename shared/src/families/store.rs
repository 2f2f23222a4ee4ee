//! SQL statements on families and their users.

use sqlx::{FromRow, PgConnection, Row};

use super::{Family, FamilyProfile, Provisioned, User, UserProfile};
use crate::{
    Error, Result,
    audit::Action,
    error::{constraint, has_code},
    ids::{FamilyId, ThreadId, UserId},
    phone::{PhoneNumber, Region},
};

/// `invalid_parameter_value` (PostgreSQL, appendix A).
const UNKNOWN_TIME_ZONE: &str = "22023";

/// Inserts or replaces a family. Also returns whether its pace of SMS has changed.
pub(super) async fn upsert_family(
    tx: &mut PgConnection,
    family_id: &FamilyId,
    profile: &FamilyProfile,
) -> Result<(Provisioned<Family>, bool)> {
    let row = sqlx::query(
        "WITH old AS (SELECT sms_per_minute FROM families WHERE family_id = $1)
         INSERT INTO families (family_id, name, sms_monthly_cap_segments, region, sms_regions,
                               sms_per_minute)
         VALUES ($1, $2, $3, $4, $5, $6)
         ON CONFLICT (family_id) DO UPDATE SET
             name = excluded.name,
             sms_monthly_cap_segments = excluded.sms_monthly_cap_segments,
             region = excluded.region,
             sms_regions = excluded.sms_regions,
             sms_per_minute = excluded.sms_per_minute,
             updated_at = now()
         RETURNING family_id, name, sms_monthly_cap_segments, region, sms_regions, sms_per_minute,
                   created_at, updated_at,
                   sms_per_minute IS DISTINCT FROM (SELECT sms_per_minute FROM old) AS pace_changed,
                   -- Zero in a row that this statement inserted.
                   xmax = 0 AS created",
    )
    .bind(family_id)
    .bind(&profile.name)
    .bind(profile.sms_monthly_cap_segments)
    .bind(&profile.region)
    .bind(&profile.sms_regions)
    .bind(profile.sms_per_minute)
    .fetch_one(tx)
    .await?;
    let put = Provisioned { now: Family::from_row(&row)?, created: row.try_get("created")? };
    Ok((put, row.try_get("pace_changed")?))
}

/// Inserts or replaces a user. Also returns the thread of each session that this ended.
pub(super) async fn upsert_user(
    tx: &mut PgConnection,
    family_id: &FamilyId,
    user_id: &UserId,
    profile: &UserProfile,
    regions: Option<&[Region]>,
) -> Result<(Provisioned<User>, Vec<ThreadId>)> {
    let region = profile.phone.as_ref().map(PhoneNumber::region);
    let row = sqlx::query(
        "WITH allowed AS (
             SELECT $9 = ANY(coalesce(sms_regions, CASE WHEN region <> '' THEN ARRAY[region] END, $10))
                        AS there
             FROM families WHERE family_id = $1
         ), old AS (
             SELECT phone FROM users WHERE family_id = $1 AND user_id = $2
         ), moved AS (
             -- The old number may belong to another person: its links and sessions end.
             UPDATE thread_members tm SET access_epoch = tm.access_epoch + 1
             FROM old
             WHERE tm.family_id = $1 AND tm.user_id = $2 AND old.phone IS DISTINCT FROM $4::text
               AND old.phone IS NOT NULL
         ), ended AS (
             DELETE FROM sessions s USING old
             WHERE s.family_id = $1 AND s.user_id = $2 AND old.phone IS DISTINCT FROM $4::text
             RETURNING s.thread_id
         )
         INSERT INTO users (family_id, user_id, name, phone, locale, time_zone, quiet_from, quiet_to,
                            phone_region)
         SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9
         -- Fails for an unknown time zone, which would later fail a whole batch.
         WHERE ($6::text IS NULL OR (now() AT TIME ZONE $6) IS NOT NULL)
           -- Null without a family, a list or a number: allowed.
           AND coalesce((SELECT there FROM allowed), true)
         ON CONFLICT (family_id, user_id) DO UPDATE SET
             name = excluded.name,
             phone = excluded.phone,
             phone_region = excluded.phone_region,
             locale = excluded.locale,
             time_zone = excluded.time_zone,
             quiet_from = excluded.quiet_from,
             quiet_to = excluded.quiet_to,
             -- An opt-out belongs to its number, and stays while the user has none.
             opted_out_at =
                 CASE WHEN users.phone <> excluded.phone THEN NULL ELSE users.opted_out_at END,
             stop_notice_at =
                 CASE WHEN users.phone = excluded.phone THEN users.stop_notice_at END,
             -- A new number, or a return, is owed nothing from before.
             texts_from = CASE WHEN users.phone IS DISTINCT FROM excluded.phone
                                    OR users.deactivated_at IS NOT NULL
                               THEN now() ELSE users.texts_from END,
             deactivated_at = NULL,
             updated_at = now()
         RETURNING user_id, family_id, name, phone, locale, time_zone, quiet_from, quiet_to,
                   created_at, updated_at, xmax = 0 AS created,
                   ARRAY(SELECT thread_id FROM ended) AS ended_in",
    )
    .bind(family_id)
    .bind(user_id)
    .bind(&profile.name)
    .bind(&profile.phone)
    .bind(&profile.locale)
    .bind(&profile.time_zone)
    .bind(profile.quiet_hours.quiet_from)
    .bind(profile.quiet_hours.quiet_to)
    .bind(region)
    .bind(regions)
    .fetch_optional(tx)
    .await
    .map_err(|error| match constraint(&error) {
        Some("users_family_id_fkey") => Error::FamilyNotFound,
        _ if has_code(&error, UNKNOWN_TIME_ZONE) => Error::UnknownTimeZone,
        _ => error.into(),
    })?
    .ok_or(Error::RegionNotAllowed)?;
    let put = Provisioned { now: User::from_row(&row)?, created: row.try_get("created")? };
    Ok((put, row.try_get("ended_in")?))
}

pub(super) async fn deactivate_user(
    tx: &mut PgConnection,
    family_id: &FamilyId,
    user_id: &UserId,
) -> Result<()> {
    let done = sqlx::query(
        "UPDATE users SET deactivated_at = coalesce(deactivated_at, now()), updated_at = now()
         WHERE family_id = $1 AND user_id = $2",
    )
    .bind(family_id)
    .bind(user_id)
    .execute(tx)
    .await?;
    if done.rows_affected() == 1 { Ok(()) } else { Err(Error::UserNotFound) }
}

/// Deactivates the active users of a family and returns their ids.
pub(super) async fn deactivate_users(
    tx: &mut PgConnection,
    family_id: &FamilyId,
) -> Result<Vec<UserId>> {
    sqlx::query("SELECT FROM families WHERE family_id = $1")
        .bind(family_id)
        .fetch_optional(&mut *tx)
        .await?
        .ok_or(Error::FamilyNotFound)?;
    let deactivated = sqlx::query_scalar(
        "WITH active AS (
             -- In the order in which creating a thread locks them.
             SELECT user_id FROM users WHERE family_id = $1 AND deactivated_at IS NULL
             ORDER BY user_id FOR UPDATE
         )
         UPDATE users u SET deactivated_at = now(), updated_at = now()
         FROM active WHERE u.family_id = $1 AND u.user_id = active.user_id
         RETURNING u.user_id",
    )
    .bind(family_id)
    .fetch_all(tx)
    .await?;
    Ok(deactivated)
}

/// Ends memberships, links and sessions. Returns the ended memberships and sessions.
pub(super) async fn end_everything(
    tx: &mut PgConnection,
    family_id: &FamilyId,
    user_id: Option<&UserId>,
) -> Result<Vec<(Action, UserId, ThreadId)>> {
    let ended: Vec<(bool, UserId, ThreadId)> = sqlx::query_as(
        "WITH memberships AS (
             UPDATE thread_members tm
             SET status = 'left', ended_at = now(), left_seq = t.last_seq,
                 access_epoch = tm.access_epoch + 1
             FROM threads t
             WHERE tm.family_id = $1 AND ($2::text IS NULL OR tm.user_id = $2) AND tm.status = 'active'
               AND t.family_id = tm.family_id AND t.thread_id = tm.thread_id
             RETURNING tm.user_id, tm.thread_id
         ), links AS (
             UPDATE magic_links SET revoked_at = now()
             WHERE family_id = $1 AND ($2::text IS NULL OR user_id = $2) AND revoked_at IS NULL
               AND expires_at > now()
         ), ended AS (
             DELETE FROM sessions WHERE family_id = $1 AND ($2::text IS NULL OR user_id = $2)
             RETURNING user_id, thread_id
         )
         SELECT true, user_id, thread_id FROM memberships
         UNION ALL SELECT false, user_id, thread_id FROM ended",
    )
    .bind(family_id)
    .bind(user_id)
    .fetch_all(tx)
    .await?;
    let action = |left| if left { Action::MemberLeft } else { Action::SessionEnded };
    Ok(ended.into_iter().map(|(left, user, thread)| (action(left), user, thread)).collect())
}
