//! SQL statements on magic links and link requests.

use std::net::IpAddr;

use sqlx::{FromRow, PgConnection};

use super::{LinkId, Opened};
use crate::{
    Result,
    delivery::{may_get_link, note_opened},
    ids::{FamilyId, LinkRequestId, ThreadId, UserId},
    limits::{FRESH_LINKS, Subject, take_statement},
    phone::PhoneNumber,
    queue::Job,
    sessions::{BrowserHash, LIFE, live},
};

/// Maximum users of a family who share a number and are each sent a link: enough for a household's phone.
const SHARING_MAX: i64 = 5;
/// Maximum links of one batch of requests, across all families.
const ANSWERS_MAX: i64 = 100;
/// Expiry of a request, in minutes.
const REQUEST_LIFE_MINUTES: i32 = 60;

pub(super) async fn find_family(tx: &mut PgConnection, link: LinkId) -> Result<Option<FamilyId>> {
    let family = sqlx::query_scalar("SELECT family_id FROM magic_links WHERE jti = $1")
        .bind(link.as_bytes().as_slice())
        .fetch_optional(tx)
        .await?;
    Ok(family)
}

pub(super) async fn lock(tx: &mut PgConnection, family_id: &FamilyId, link: LinkId) -> Result<()> {
    sqlx::query("SELECT FROM magic_links WHERE family_id = $1 AND jti = $2 FOR UPDATE")
        .bind(family_id)
        .bind(link.as_bytes().as_slice())
        .execute(tx)
        .await?;
    Ok(())
}

/// The result of opening a link.
#[derive(FromRow)]
pub(super) struct Exchanged {
    #[sqlx(flatten)]
    pub(super) opened: Opened,
    /// Whether the browser must use its fresh secret now.
    pub(super) renamed: bool,
    /// Whether this bound the link to the browser.
    pub(super) first: bool,
}

/// Binds an unused link to a browser with a new session, or finds the session that it began before.
pub(super) async fn exchange(
    tx: &mut PgConnection,
    family_id: &FamilyId,
    link: LinkId,
    known: &BrowserHash,
    fresh: &BrowserHash,
) -> Result<Option<Exchanged>> {
    let exchanged = sqlx::query_as(concat!(
        "WITH link AS (
             SELECT l.jti, l.family_id, l.thread_id, l.user_id, l.sms_id, l.access_epoch,
                    l.expires_at, l.browser
             FROM magic_links l
             JOIN thread_members tm ON tm.family_id = l.family_id AND tm.thread_id = l.thread_id
                 AND tm.user_id = l.user_id
             WHERE l.jti = $2 AND l.family_id = $1 AND l.revoked_at IS NULL
               AND tm.status = 'active' AND tm.access_epoch = l.access_epoch
         ), called AS (
             -- A browser with a session keeps its secret, which other tabs use. Sessions of other
             -- families can't be checked here, but revoking one deletes it.
             SELECT CASE WHEN EXISTS (
                 SELECT FROM sessions s WHERE s.browser = $3 AND ",
        live!("s"),
        "          AND (s.family_id <> $1 OR EXISTS (
                       SELECT FROM thread_members tm
                       WHERE tm.family_id = s.family_id AND tm.thread_id = s.thread_id
                         AND tm.user_id = s.user_id AND tm.status = 'active'
                         AND tm.access_epoch = s.access_epoch))
             ) THEN $3 ELSE $4 END AS browser
         ), bound AS (
             UPDATE magic_links l SET browser = called.browser
             FROM link CROSS JOIN called
             WHERE l.jti = link.jti AND link.browser IS NULL AND link.expires_at > now()
             RETURNING link.family_id, link.thread_id, link.user_id, link.access_epoch,
                       link.sms_id, called.browser
         ), begun AS (
             INSERT INTO sessions (browser, family_id, thread_id, user_id, access_epoch, expires_at)
             SELECT browser, family_id, thread_id, user_id, access_epoch,
                    now() + make_interval(secs => $5)
             FROM bound
             ON CONFLICT (browser, thread_id, user_id) DO UPDATE SET
                 access_epoch = excluded.access_epoch, created_at = now(), opened_at = now(),
                 last_seen_at = now(), expires_at = excluded.expires_at
             RETURNING family_id, thread_id, user_id, expires_at, browser
         ), again AS (
             UPDATE sessions s SET opened_at = now(), last_seen_at = now()
             FROM link
             WHERE link.browser IN ($3, $4) AND s.browser = link.browser
               AND s.family_id = link.family_id AND s.thread_id = link.thread_id
               AND s.user_id = link.user_id AND s.access_epoch = link.access_epoch AND ",
        live!("s"),
        "    RETURNING s.family_id, s.thread_id, s.user_id, s.expires_at, s.browser
         ), opened AS (",
        note_opened!(),
        ")
         SELECT o.*, o.browser = $4 AS renamed
         FROM (SELECT *, true AS first FROM begun UNION ALL SELECT *, false FROM again) o",
    ))
    .bind(family_id)
    .bind(link.as_bytes().as_slice())
    .bind(known.as_bytes().as_slice())
    .bind(fresh.as_bytes().as_slice())
    .bind(LIFE.as_secs_f64())
    .fetch_optional(tx)
    .await?;
    Ok(exchanged)
}

/// Returns the user and thread of a spent link, if the user may be sent another.
pub(super) async fn find_spent(
    tx: &mut PgConnection,
    family_id: &FamilyId,
    link: LinkId,
) -> Result<Option<(UserId, ThreadId)>> {
    let found = sqlx::query_as(concat!(
        "SELECT l.user_id, l.thread_id
         FROM magic_links l
         JOIN thread_members tm ON tm.family_id = l.family_id AND tm.thread_id = l.thread_id
             AND tm.user_id = l.user_id AND tm.status = 'active'
         JOIN users u ON u.family_id = l.family_id AND u.user_id = l.user_id
         WHERE l.jti = $2 AND l.family_id = $1
           AND (l.expires_at <= now() OR l.browser IS NOT NULL OR l.revoked_at IS NOT NULL
                OR l.access_epoch <> tm.access_epoch)
           AND ",
        may_get_link!(),
    ))
    .bind(family_id)
    .bind(link.as_bytes().as_slice())
    .fetch_optional(tx)
    .await?;
    Ok(found)
}

/// Inserts a request. Returns `false` if the number's limit is reached. One statement for every number.
pub(super) async fn insert_request(
    tx: &mut PgConnection,
    id: LinkRequestId,
    phone: &PhoneNumber,
    source: Option<IpAddr>,
) -> Result<bool> {
    let done = sqlx::query(concat!(
        "WITH allowed AS (",
        take_statement!(),
        " RETURNING true)
         INSERT INTO link_requests (link_request_id, phone, source)
         SELECT $4, $5, $6::text::inet FROM allowed",
    ))
    .bind(Subject::phone_links(phone).as_bytes().as_slice())
    .bind(FRESH_LINKS.hourly)
    .bind(FRESH_LINKS.daily)
    .bind(id)
    .bind(phone)
    .bind(source.map(|source| source.to_string()))
    .execute(tx)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// A user with a requested number.
#[derive(FromRow)]
pub(super) struct Recipient {
    /// The latest request for that number.
    #[sqlx(rename = "link_request_id")]
    pub(super) request: LinkRequestId,
    pub(super) family_id: FamilyId,
    pub(super) user_id: UserId,
    /// The user's thread with the latest activity.
    pub(super) thread_id: ThreadId,
    source: Option<String>,
}

impl Recipient {
    /// The source address of the request.
    pub(super) fn source(&self) -> Option<IpAddr> {
        self.source.as_deref()?.parse().ok()
    }
}

/// Deletes requests and returns the users with their numbers.
pub(super) async fn take_requests(
    tx: &mut PgConnection,
    requests: &[LinkRequestId],
) -> Result<Vec<Recipient>> {
    let found = sqlx::query_as(concat!(
        "WITH taken AS (
             DELETE FROM link_requests WHERE link_request_id IN (
                 SELECT link_request_id FROM link_requests WHERE link_request_id = ANY($1)
                 ORDER BY link_request_id FOR UPDATE
             )
             RETURNING link_request_id, phone, created_at, host(source) AS source
         )
         SELECT request.link_request_id, recipient.family_id, recipient.user_id, recipient.thread_id,
                request.source
         FROM (
             SELECT DISTINCT ON (phone) link_request_id, phone, source FROM taken
             WHERE created_at > now() - make_interval(mins => $3)
             ORDER BY phone, created_at DESC
         ) request
         CROSS JOIN LATERAL (
             SELECT u.family_id, u.user_id, latest.thread_id, latest.active_at,
                    row_number() OVER (PARTITION BY u.family_id ORDER BY latest.active_at DESC) AS nth
             FROM users u
             CROSS JOIN LATERAL (
                 SELECT t.thread_id, coalesce(t.last_message_at, t.created_at) AS active_at
                 FROM thread_members tm
                 JOIN threads t ON t.family_id = tm.family_id AND t.thread_id = tm.thread_id
                 WHERE tm.family_id = u.family_id AND tm.user_id = u.user_id AND tm.status = 'active'
                 ORDER BY active_at DESC LIMIT 1
             ) latest
             WHERE u.phone = request.phone AND u.deactivated_at IS NULL AND ",
        may_get_link!(),
        ") recipient
         WHERE recipient.nth <= $2
         ORDER BY recipient.active_at DESC LIMIT $4",
    ))
    .bind(requests)
    .bind(SHARING_MAX)
    .bind(REQUEST_LIFE_MINUTES)
    .bind(ANSWERS_MAX)
    .fetch_all(tx)
    .await?;
    Ok(found)
}

/// Deletes expired requests, and returns those with a due wake-up call.
pub(super) async fn take_due_requests(tx: &mut PgConnection) -> Result<Vec<LinkRequestId>> {
    sqlx::query(
        "DELETE FROM link_requests WHERE link_request_id = ANY(ARRAY(
             SELECT link_request_id FROM link_requests
             WHERE created_at <= now() - make_interval(mins => $1)
             ORDER BY wake_at LIMIT 500 FOR UPDATE SKIP LOCKED
         ))",
    )
    .bind(REQUEST_LIFE_MINUTES)
    .execute(&mut *tx)
    .await?;
    let due = sqlx::query_scalar(
        "UPDATE link_requests SET wake_at = now() + interval '5 minutes'
         WHERE link_request_id IN (
             SELECT link_request_id FROM link_requests WHERE wake_at <= now()
             ORDER BY wake_at LIMIT 500 FOR UPDATE SKIP LOCKED
         )
         RETURNING link_request_id",
    )
    .fetch_all(tx)
    .await?;
    Ok(due)
}

/// Makes the wake-up calls due again that the queue did not accept.
pub(super) async fn put_back(tx: &mut PgConnection, jobs: &[Job]) -> Result<()> {
    let id = |job: &Job| match job {
        Job::LinkRequest(id) => Some(*id),
        _ => None,
    };
    let ids: Vec<LinkRequestId> = jobs.iter().filter_map(id).collect();
    sqlx::query("UPDATE link_requests SET wake_at = now() WHERE link_request_id = ANY($1)")
        .bind(ids)
        .execute(tx)
        .await?;
    Ok(())
}

/// Sets the savepoint of [`rollback_to_savepoint`].
pub(super) async fn savepoint(tx: &mut PgConnection) -> Result<()> {
    sqlx::raw_sql("SAVEPOINT here").execute(tx).await?;
    Ok(())
}

/// Rolls back to [`savepoint`].
pub(super) async fn rollback_to_savepoint(tx: &mut PgConnection) -> Result<()> {
    sqlx::raw_sql("ROLLBACK TO SAVEPOINT here").execute(tx).await?;
    Ok(())
}
