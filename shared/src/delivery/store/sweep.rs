//! The sweeper's statements: they find threads whose members may be due, and SMS that wait for their next attempt.
//!
//! It goes round by families, so that one with much waiting does not keep the others.

use sqlx::PgConnection;

use super::{
    super::{
        Pacing, WAKE_AGAIN,
        policy::{mark, owed},
    },
    record::sms_columns,
};
use crate::{
    Result,
    ids::{FamilyId, ThreadId, UserId},
    queue::{Recipient, SmsJob},
};

/// Families that one statement visits.
const VISITS: i32 = 1000;

/// A family with something waiting.
#[derive(Debug, Clone, sqlx::FromRow)]
pub(in super::super) struct Waiting {
    /// The family.
    pub(in super::super) family_id: FamilyId,
    /// How long the first has waited, in seconds; negative before its time.
    pub(in super::super) overdue: f64,
}

/// Visits the families with rows in an index of family and `wake_at`, one step of the index for each.
macro_rules! families {
    ($table:literal, $waiting:literal) => {
        concat!(
            "WITH RECURSIVE round AS (
                 (SELECT family_id, wake_at, 1 AS nth FROM ",
            $table,
            " WHERE ",
            $waiting,
            " AND family_id > $1 ORDER BY family_id, wake_at LIMIT 1)
                 UNION ALL
                 SELECT next.family_id, next.wake_at, nth + 1
                 FROM round
                 CROSS JOIN LATERAL (
                     SELECT w.family_id, w.wake_at FROM ",
            $table,
            " w WHERE ",
            $waiting,
            " AND w.family_id > round.family_id ORDER BY w.family_id, w.wake_at LIMIT 1
                 ) next
                 WHERE nth < $2
             )
             SELECT family_id, extract(epoch FROM now() - wake_at)::float8 AS overdue FROM round ORDER BY nth"
        )
    };
}

/// Returns the next families after `after` with threads to look at, now or later. Fewer than asked for are
/// the last.
pub(in super::super) async fn families_with_threads(
    tx: &mut PgConnection,
    after: &str,
) -> Result<(Vec<Waiting>, bool)> {
    visit(tx, families!("threads", "wake_at IS NOT NULL"), after).await
}

/// Returns the next families after `after` with SMS that wait for an attempt, now or later.
pub(in super::super) async fn families_with_sms(
    tx: &mut PgConnection,
    after: &str,
) -> Result<(Vec<Waiting>, bool)> {
    visit(tx, families!("sms", "state = 'pending'"), after).await
}

async fn visit(
    tx: &mut PgConnection,
    statement: &'static str,
    after: &str,
) -> Result<(Vec<Waiting>, bool)> {
    let found: Vec<Waiting> =
        sqlx::query_as(statement).bind(after).bind(VISITS).fetch_all(tx).await?;
    let more = i32::try_from(found.len()).is_ok_and(|found| found == VISITS);
    Ok((found, more))
}

/// A locked thread.
pub(in super::super) type Locked = (FamilyId, ThreadId);

/// Selects threads whose time has come, up to `$2` of each family.
macro_rules! lock_threads {
    ($overdue:literal, $skip:literal) => {
        concat!(
            "SELECT t.family_id, t.thread_id
             FROM unnest($1::text[]) AS f (family_id)
             CROSS JOIN LATERAL (
                 SELECT family_id, thread_id FROM threads
                 WHERE family_id = f.family_id AND wake_at <= now() - interval '",
            $overdue,
            "' ORDER BY wake_at LIMIT $2 FOR NO KEY UPDATE ",
            $skip,
            ") t"
        )
    };
}

/// Locks up to `each` threads of each family whose time has come, except those that are locked.
pub(in super::super) async fn lock_threads(
    tx: &mut PgConnection,
    families: &[FamilyId],
    each: i64,
) -> Result<Vec<Locked>> {
    lock(tx, lock_threads!("0", "SKIP LOCKED"), families, each).await
}

/// Waits for a thread of the family that has been skipped for two minutes, and locks it.
pub(in super::super) async fn lock_overdue(
    tx: &mut PgConnection,
    family: &FamilyId,
) -> Result<Vec<Locked>> {
    lock(tx, lock_threads!("2 minutes", ""), std::slice::from_ref(family), 1).await
}

async fn lock(
    tx: &mut PgConnection,
    statement: &'static str,
    families: &[FamilyId],
    each: i64,
) -> Result<Vec<Locked>> {
    let families: Vec<&str> = families.iter().map(FamilyId::as_str).collect();
    Ok(sqlx::query_as(statement).bind(families).bind(each).fetch_all(tx).await?)
}

/// A member of a locked thread who is due an SMS, or has one that is open.
#[derive(Debug, Clone, sqlx::FromRow)]
pub(in super::super) struct Looked {
    pub(in super::super) family_id: FamilyId,
    pub(in super::super) thread_id: ThreadId,
    pub(in super::super) user_id: UserId,
    /// In how many seconds the open SMS is to be looked at; `None` if none is open: the member is due.
    pub(in super::super) open_for: Option<f64>,
    /// For how many seconds the thread's newest message has been there.
    pub(in super::super) waited: f64,
    /// Seconds between two SMS of the family; zero without a limit.
    pub(in super::super) every: f64,
    /// For how many seconds the family's pace is used up.
    pub(in super::super) ahead: f64,
}

/// Looks at the members of locked threads in a fresh snapshot. Members who are owed nothing and have no open
/// SMS are left out.
pub(in super::super) async fn look(
    tx: &mut PgConnection,
    threads: &[Locked],
    pacing: Pacing,
) -> Result<Vec<Looked>> {
    let families: Vec<&str> = threads.iter().map(|(family, _)| family.as_str()).collect();
    let ids: Vec<ThreadId> = threads.iter().map(|(_, thread)| *thread).collect();
    let looked = sqlx::query_as(concat!(
        "SELECT tm.family_id, tm.thread_id, tm.user_id,
                extract(epoch FROM open.until - now())::float8 AS open_for,
                coalesce(extract(epoch FROM now() - t.last_loud_at), 0)::float8 AS waited,
                (60.0 / coalesce(nullif(coalesce(f.sms_per_minute, $3), 0), 'infinity'::float8))::float8
                    AS every,
                greatest(extract(epoch FROM p.due_at - now()), 0)::float8 AS ahead
         FROM unnest($1::text[], $2::uuid[]) WITH ORDINALITY AS w (family_id, thread_id, nth)
         CROSS JOIN LATERAL (
             SELECT * FROM threads WHERE family_id = w.family_id AND thread_id = w.thread_id LIMIT 1
         ) t
         JOIN families f ON f.family_id = w.family_id
         LEFT JOIN sms_pace p ON p.family_id = w.family_id
         -- Fenced: without statistics, PostgreSQL joins all users of a family with all its memberships.
         CROSS JOIN LATERAL (
             SELECT * FROM thread_members
             WHERE family_id = w.family_id AND thread_id = w.thread_id OFFSET 0
         ) tm
         CROSS JOIN LATERAL (
             SELECT * FROM users WHERE family_id = tm.family_id AND user_id = tm.user_id OFFSET 0
         ) u
         LEFT JOIN reach r ON r.family_id = tm.family_id AND r.thread_id = tm.thread_id
             AND r.user_id = tm.user_id
         LEFT JOIN LATERAL (
             SELECT min(CASE s.state WHEN 'sending' THEN s.lease_until
                        ELSE greatest(s.next_attempt_at, now() + interval '30 seconds') END) AS until
             FROM sms s
             WHERE s.family_id = tm.family_id AND s.thread_id = tm.thread_id AND s.user_id = tm.user_id
               AND s.kind = 'message' AND s.state IN ('pending', 'sending')
         ) open ON true
         WHERE open.until IS NOT NULL OR ",
        owed!(),
        // With fewer slots than members, those who were reached least far come first.
        " ORDER BY w.nth, ",
        mark!(),
        ", tm.user_id",
    ))
    .bind(families)
    .bind(ids)
    .bind(f64::from(pacing.per_minute))
    .fetch_all(tx)
    .await?;
    Ok(looked)
}

/// Sets when each thread is looked at next, in seconds from now; `None`: not before another post.
///
/// That is once more after half a minute where the newest message is younger: a transaction that began before
/// it, and brings a member back (an opt-out that ends, a rejoining), may commit after this look.
pub(in super::super) async fn set_wake(
    tx: &mut PgConnection,
    threads: &[(Locked, Option<f64>)],
) -> Result<()> {
    let families: Vec<&str> = threads.iter().map(|((family, _), _)| family.as_str()).collect();
    let ids: Vec<ThreadId> = threads.iter().map(|((_, thread), _)| *thread).collect();
    let seconds: Vec<Option<f64>> = threads.iter().map(|(_, seconds)| *seconds).collect();
    sqlx::query(
        "UPDATE threads t SET wake_at = coalesce(
             now() + make_interval(secs => w.seconds),
             CASE WHEN t.last_loud_at > now() - interval '30 seconds'
                  THEN t.last_loud_at + interval '30 seconds' END
         )
         FROM unnest($1::text[], $2::uuid[], $3::float8[]) AS w (family_id, thread_id, seconds)
         WHERE t.family_id = w.family_id AND t.thread_id = w.thread_id",
    )
    .bind(families)
    .bind(ids)
    .bind(seconds)
    .execute(tx)
    .await?;
    Ok(())
}

/// Makes all threads of a family due that are to be looked at later.
pub(in super::super) async fn look_again(
    tx: &mut PgConnection,
    family_id: &FamilyId,
) -> Result<()> {
    sqlx::query("UPDATE threads SET wake_at = now() WHERE family_id = $1 AND wake_at > now()")
        .bind(family_id)
        .execute(tx)
        .await?;
    Ok(())
}

/// Makes threads due again whose jobs the queue did not accept.
pub(in super::super) async fn put_back_members(
    tx: &mut PgConnection,
    members: &[Recipient],
) -> Result<()> {
    let (families, threads, _) = super::claim::columns(members);
    sqlx::query(
        "UPDATE threads t SET wake_at = now()
         FROM (SELECT DISTINCT * FROM unnest($1::text[], $2::uuid[]) AS w (family_id, thread_id)
               ORDER BY thread_id) w
         WHERE t.family_id = w.family_id AND t.thread_id = w.thread_id",
    )
    .bind(families)
    .bind(threads)
    .execute(tx)
    .await?;
    Ok(())
}

/// Returns up to `each` SMS of each family that are due, with the seconds that each is overdue, and schedules
/// their next wake-up call.
pub(in super::super) async fn take_due(
    tx: &mut PgConnection,
    families: &[FamilyId],
    each: i64,
) -> Result<Vec<(SmsJob, f64)>> {
    let families: Vec<&str> = families.iter().map(FamilyId::as_str).collect();
    let due: Vec<(FamilyId, crate::ids::SmsId, f64)> = sqlx::query_as(
        "UPDATE sms s SET wake_at = now() + make_interval(secs => $3)
         FROM (
             SELECT d.* FROM unnest($1::text[]) AS f (family_id)
             CROSS JOIN LATERAL (
                 SELECT family_id, sms_id FROM sms
                 WHERE family_id = f.family_id AND state = 'pending' AND wake_at <= now()
                   AND next_attempt_at <= now()
                 ORDER BY wake_at LIMIT $2 FOR UPDATE SKIP LOCKED
             ) d
         ) due
         WHERE s.family_id = due.family_id AND s.sms_id = due.sms_id
         RETURNING s.family_id, s.sms_id, extract(epoch FROM now() - s.next_attempt_at)::float8",
    )
    .bind(families)
    .bind(each)
    .bind(WAKE_AGAIN.as_secs_f64())
    .fetch_all(tx)
    .await?;
    Ok(due
        .into_iter()
        .map(|(family_id, sms_id, overdue)| (SmsJob { family_id, sms_id }, overdue))
        .collect())
}

/// Makes the wake-up calls due again that the queue did not accept.
pub(in super::super) async fn put_back_sms(tx: &mut PgConnection, jobs: &[SmsJob]) -> Result<()> {
    let (ids, families) = sms_columns(jobs);
    sqlx::query(
        "UPDATE sms s SET wake_at = now()
         FROM unnest($1::uuid[], $2::text[]) AS job (sms_id, family_id)
         WHERE s.family_id = job.family_id AND s.sms_id = job.sms_id
           AND s.state IS NOT DISTINCT FROM 'pending'",
    )
    .bind(ids)
    .bind(families)
    .execute(tx)
    .await?;
    Ok(())
}
