//! The claim: which of the wanted members and SMS are due, and their SMS, covers and links.

use std::time::Duration;

use sqlx::{FromRow, PgConnection, Row};

use super::super::{
    Claimed, DeliveryState, LEASE, LINK_LIFE, Lease, Pacing, Settled,
    policy::{claimed_state, floor, mark, not_active, owed, regions, suppressed},
};
use crate::{
    Result,
    ids::{LinkId, SmsId},
    queue::{Recipient, SmsJob},
};

/// The SMS that a claim took, and those that it settled.
type Found = (Vec<Claimed>, Vec<Settled>);

/// Locks members of threads, and returns those that no other worker has locked. The next statement sees what
/// the holders before had committed.
///
/// The order is that of all claims; rows that another claim has are left to it, so claims never wait for each
/// other.
pub(in super::super) async fn lock_members(
    tx: &mut PgConnection,
    wanted: &[Recipient],
) -> Result<Vec<Recipient>> {
    let (families, threads, users) = columns(wanted);
    let locked = sqlx::query_as(
        "SELECT tm.family_id, tm.thread_id, tm.user_id
         FROM unnest($1::text[], $2::uuid[], $3::text[]) AS w (family_id, thread_id, user_id)
         JOIN thread_members tm ON tm.family_id = w.family_id AND tm.thread_id = w.thread_id
             AND tm.user_id = w.user_id
         ORDER BY tm.thread_id, tm.user_id
         FOR NO KEY UPDATE OF tm SKIP LOCKED",
    )
    .bind(families)
    .bind(threads)
    .bind(users)
    .fetch_all(tx)
    .await?;
    Ok(locked)
}

/// Returns the members whose SMS about messages these are, and the SMS that are only links.
pub(in super::super) async fn resolve(
    tx: &mut PgConnection,
    jobs: &[SmsJob],
) -> Result<(Vec<Recipient>, Vec<SmsJob>)> {
    let families: Vec<&str> = jobs.iter().map(|job| job.family_id.as_str()).collect();
    let ids: Vec<SmsId> = jobs.iter().map(|job| job.sms_id).collect();
    let rows = sqlx::query(
        "SELECT s.family_id, s.sms_id, s.thread_id, s.user_id, s.kind = 'link' AS only_link
         FROM unnest($1::text[], $2::uuid[]) AS job (family_id, sms_id)
         JOIN sms s ON s.family_id = job.family_id AND s.sms_id = job.sms_id",
    )
    .bind(families)
    .bind(ids)
    .fetch_all(tx)
    .await?;
    let (mut members, mut links) = (Vec::new(), Vec::new());
    for row in &rows {
        if row.try_get("only_link")? {
            links.push(SmsJob::from_row(row)?);
        } else {
            members.push(Recipient::from_row(row)?);
        }
    }
    Ok((members, links))
}

/// The columns of [`Claimed`] and [`Settled`] that come from `due`, a row for each member or link.
macro_rules! claimed_columns {
    () => {
        "due.phone, due.locale, due.stop_notice, due.monthly_cap, due.thread_title, due.thread_kind,
         due.sender, due.body, due.file_count, due.message_id, due.waiting, due.link "
    };
}

/// The statement of [`claim_members`]: for the members `$1` to `$3`, each with the ids of a new SMS `$4` and link
/// `$5`, under the lease `$6`.
macro_rules! claim_members {
    () => {
        concat!(
            "WITH member AS (
                 SELECT job.*, tm.access_epoch, t.title AS thread_title, t.kind AS thread_kind,
                        t.last_seq, t.last_loud_seq, t.last_loud_at, u.phone, u.phone_region, u.locale,
                        u.stop_notice_at, open.sms_id AS open_id, open.expires_at,
                        greatest(r.covered_seq, tm.joined_seq) + 1 AS new_from,
                        greatest(r.last_read_seq, tm.joined_seq) AS read_seq, ",
            floor!(),
            "AS floor, ",
            mark!(),
            "AS mark,
                        CASE ",
            not_active!(),
            suppressed!(),
            "           END AS unwelcome
                 FROM unnest($1::text[], $2::uuid[], $3::text[], $4::uuid[], $5::bytea[])
                          AS job (family_id, thread_id, user_id, new_id, link)
                 -- Lateral, so that each is found by its key: a plain join may read all threads of a family.
                 CROSS JOIN LATERAL (
                     SELECT * FROM thread_members
                     WHERE family_id = job.family_id AND thread_id = job.thread_id AND user_id = job.user_id
                     LIMIT 1
                 ) tm
                 CROSS JOIN LATERAL (
                     SELECT * FROM threads WHERE family_id = job.family_id AND thread_id = job.thread_id LIMIT 1
                 ) t
                 CROSS JOIN LATERAL (
                     SELECT * FROM users WHERE family_id = job.family_id AND user_id = job.user_id LIMIT 1
                 ) u
                 LEFT JOIN LATERAL (
                     SELECT * FROM reach
                     WHERE family_id = job.family_id AND thread_id = job.thread_id AND user_id = job.user_id
                     LIMIT 1
                 ) r ON true
                 -- Before this version a member could have several; now one that is due goes first.
                 LEFT JOIN LATERAL (
                     SELECT s.sms_id, s.expires_at, s.state = 'pending' AND s.next_attempt_at <= now() AS is_due
                     FROM sms s
                     WHERE s.family_id = job.family_id AND s.thread_id = job.thread_id
                       AND s.user_id = job.user_id AND s.kind = 'message' AND s.state IN ('pending', 'sending')
                     ORDER BY is_due DESC LIMIT 1
                 ) open ON true
                 WHERE CASE WHEN open.sms_id IS NULL THEN ",
            owed!(),
            "          ELSE open.is_due END
             ), ranged AS (
                 SELECT member.*, coalesce(earlier.from_seq, member.new_from) AS from_seq,
                        greatest(member.read_seq, coalesce(earlier.from_seq, member.new_from) - 1,
                                 member.last_seq - 200) AS after_seq
                 FROM member
                 LEFT JOIN LATERAL (
                     SELECT min(c.from_seq) AS from_seq FROM sms_covers c
                     WHERE c.family_id = member.family_id AND c.sms_id = member.open_id
                 ) earlier ON true
             ), due AS (
                 SELECT ranged.*, f.sms_monthly_cap_segments AS monthly_cap, newest.message_id, newest.sender,
                        newest.body, coalesce(newest.file_count, 0) AS file_count,
                        coalesce(newest.fresh, 1) - 1 AS waiting,
                        coalesce(stop_notice_at, '-infinity') < now() - make_interval(secs => $9)
                            IS TRUE AS stop_notice,
                        60.0 / coalesce(nullif(coalesce(f.sms_per_minute, $10), 0), 'infinity'::float8) AS every,
                        CASE WHEN open_id IS NOT NULL AND expires_at <= now() THEN 'expired'
                             WHEN unwelcome IS NOT NULL THEN unwelcome
                             WHEN phone_region <> ALL(",
            regions!(),
            "                     ) THEN 'region_not_allowed'
                             WHEN newest.message_id IS NULL AND read_seq >= last_loud_seq THEN 'read'
                             WHEN newest.message_id IS NULL THEN 'message_deleted'
                        END AS reason
                 FROM ranged
                 JOIN families f ON f.family_id = ranged.family_id
                 LEFT JOIN LATERAL (
                     SELECT m.message_id, m.body, cardinality(m.file_ids) AS file_count, a.name AS sender,
                            count(*) OVER () AS fresh
                     FROM messages m
                     JOIN users a ON a.family_id = m.family_id AND a.user_id = m.author_id
                     WHERE m.family_id = ranged.family_id AND m.thread_id = ranged.thread_id
                       AND m.seq > ranged.after_seq AND m.seq <= ranged.last_seq
                       AND m.deleted_at IS NULL AND a.deactivated_at IS NULL
                       AND m.author_id <> ranged.user_id
                       AND m.created_at > ranged.floor
                     ORDER BY m.seq DESC LIMIT 1
                 ) newest ON true
             ), decided AS (
                 SELECT *, ",
            claimed_state!(),
            "           AS state,
                        row_number() OVER (
                            PARTITION BY family_id, open_id IS NULL AND reason IS NULL
                            -- With fewer slots than members, those who were reached least far come first.
                            ORDER BY thread_id, mark, user_id
                        ) AS nth
                 FROM due
             ), paced AS (
                 INSERT INTO sms_pace AS p (family_id, due_at, open_at, every, granted)
                 SELECT family_id, now() + make_interval(secs => n * every),
                        now() + make_interval(secs => (n + 1) * every - $11), every, n
                 FROM (
                     SELECT family_id, every, least(count(*), floor($11 / every))::int AS n
                     FROM decided WHERE open_id IS NULL AND state = 'sending' AND every > 0
                     GROUP BY family_id, every
                 ) asked
                 -- In one order in all workers, to avoid deadlocks.
                 ORDER BY family_id
                 ON CONFLICT (family_id) DO UPDATE SET (due_at, open_at, every, granted) = (
                     SELECT due_at, due_at + make_interval(secs => excluded.every - $11), excluded.every, n
                     FROM (
                         SELECT n, greatest(p.due_at, now()) + make_interval(secs => n * excluded.every) AS due_at
                         FROM (
                             SELECT greatest(least(excluded.granted, floor(
                                 ($11 - extract(epoch FROM greatest(p.due_at, now()) - now())) / excluded.every
                             )), 0)::int AS n
                         ) granted
                     ) moved
                 )
                 RETURNING family_id, granted
             ), going AS (
                 SELECT decided.* FROM decided LEFT JOIN paced USING (family_id)
                 WHERE open_id IS NOT NULL OR state <> 'sending' OR every = 0 OR nth <= paced.granted
             ), created AS (
                 INSERT INTO sms (sms_id, family_id, thread_id, user_id, kind, state, attempts, lease_token,
                                  lease_until, expires_at)
                 SELECT new_id, family_id, thread_id, user_id, 'message', 'sending', 1, $6,
                        now() + make_interval(secs => $7), last_loud_at + interval '72 hours'
                 FROM going WHERE open_id IS NULL AND state = 'sending'
                 RETURNING sms_id, attempts
             ), retried AS (
                 UPDATE sms s SET
                     state = g.state,
                     reason = g.reason,
                     attempts = s.attempts + (g.state = 'sending')::int,
                     lease_token = CASE WHEN g.state = 'sending' THEN $6 END,
                     lease_until = CASE WHEN g.state = 'sending' THEN now() + make_interval(secs => $7) END,
                     expires_at = CASE WHEN g.state = 'sending'
                         THEN g.last_loud_at + interval '72 hours' ELSE s.expires_at END
                 FROM going g
                 WHERE s.family_id = g.family_id AND s.sms_id = g.open_id
                   -- As it was when it was found. Not by `=`: an index of what waits would be read for the
                   -- whole family.
                   AND s.state IS NOT DISTINCT FROM 'pending'
                 RETURNING s.sms_id, s.attempts
             ), settled AS (
                 SELECT going.*, coalesce(created.sms_id, retried.sms_id) AS sms_id,
                        coalesce(created.attempts, retried.attempts) AS attempts
                 FROM going
                 LEFT JOIN created ON created.sms_id = going.new_id
                 LEFT JOIN retried ON retried.sms_id = going.open_id
                 WHERE going.open_id IS NULL OR retried.sms_id IS NOT NULL
             ), covered AS (
                 INSERT INTO sms_covers (family_id, thread_id, user_id, from_seq, to_seq, sms_id, reason)
                 SELECT family_id, thread_id, user_id, new_from, last_seq, sms_id,
                        CASE WHEN sms_id IS NULL THEN reason END
                 FROM settled
                 WHERE last_seq >= new_from AND coalesce(reason, 'read') IN ('read', 'message_deleted', 'region_not_allowed')
                 RETURNING family_id, thread_id, user_id, to_seq
             ), reached AS (
                 INSERT INTO reach AS r (family_id, thread_id, user_id, covered_seq)
                 SELECT family_id, thread_id, user_id, to_seq FROM covered
                 ON CONFLICT (family_id, thread_id, user_id) DO UPDATE SET covered_seq = excluded.covered_seq
             ), linked AS (
                 INSERT INTO magic_links (jti, family_id, thread_id, user_id, sms_id, access_epoch, expires_at)
                 SELECT link, family_id, thread_id, user_id, sms_id, access_epoch,
                        now() + make_interval(secs => $8)
                 FROM settled WHERE state = 'sending'
                 ON CONFLICT (sms_id) DO UPDATE SET
                     jti = excluded.jti, access_epoch = excluded.access_epoch,
                     expires_at = excluded.expires_at, created_at = now()
             )
             SELECT due.family_id, due.thread_id, due.user_id, due.sms_id, due.state, due.reason, due.attempts, ",
            claimed_columns!(),
            "FROM settled due",
            )
    };
}

/// For each locked member decides in a fresh snapshot whether an SMS is due: a new one, or one that waits for
/// its next attempt. What is decided is covered, in the same statement: with the SMS or, if there is nothing
/// left to text about, with none and a reason.
///
/// New SMS take a slot of their family's pace. What that refuses is not covered: `threads.wake_at` stands.
pub(in super::super) async fn claim_members(
    tx: &mut PgConnection,
    lease: Lease,
    members: &[Recipient],
    stop_notices: Option<Duration>,
    pacing: Pacing,
) -> Result<Found> {
    let (families, threads, users) = columns(members);
    let ids: Vec<SmsId> = members.iter().map(|_| SmsId::new()).collect();
    let rows = sqlx::query(claim_members!())
        .bind(families)
        .bind(threads)
        .bind(users)
        .bind(ids)
        .bind(new_links(members.len()))
        .bind(lease.0)
        .bind(LEASE.as_secs_f64())
        .bind(LINK_LIFE.as_secs_f64())
        .bind(stop_notices.map(|every| every.as_secs_f64()))
        .bind(f64::from(pacing.per_minute))
        .bind(Pacing::BURST.as_secs_f64())
        .fetch_all(tx)
        .await?;
    sort(&rows)
}

/// Claims SMS that are only links.
pub(in super::super) async fn claim_links(
    tx: &mut PgConnection,
    lease: Lease,
    links: &[SmsJob],
    stop_notices: Option<Duration>,
) -> Result<Found> {
    let families: Vec<&str> = links.iter().map(|job| job.family_id.as_str()).collect();
    let ids: Vec<SmsId> = links.iter().map(|job| job.sms_id).collect();
    let rows = sqlx::query(concat!(
        "WITH due AS (
             SELECT s.family_id, s.thread_id, s.user_id, s.sms_id, job.link, tm.access_epoch, u.phone,
                    u.locale, t.title AS thread_title, t.kind AS thread_kind,
                    coalesce(u.stop_notice_at, '-infinity') < now() - make_interval(secs => $7)
                        IS TRUE AS stop_notice,
                    f.sms_monthly_cap_segments AS monthly_cap, NULL::uuid AS message_id,
                    NULL::text AS sender, NULL::text AS body, 0 AS file_count, 0::bigint AS waiting,
                    CASE WHEN s.expires_at <= now() THEN 'expired'
                         ",
        not_active!(),
        "                WHEN u.phone IS NULL THEN 'no_number'
                         WHEN u.opted_out_at IS NOT NULL THEN 'opted_out'
                         WHEN u.phone_region <> ALL(",
        regions!(),
        "                     ) THEN 'region_not_allowed'
                    END AS reason
             FROM unnest($1::text[], $2::uuid[], $3::bytea[]) AS job (family_id, sms_id, link)
             JOIN sms s ON s.family_id = job.family_id AND s.sms_id = job.sms_id
             CROSS JOIN LATERAL (
                 SELECT * FROM thread_members
                 WHERE family_id = s.family_id AND thread_id = s.thread_id AND user_id = s.user_id LIMIT 1
             ) tm
             CROSS JOIN LATERAL (
                 SELECT * FROM threads WHERE family_id = s.family_id AND thread_id = s.thread_id LIMIT 1
             ) t
             JOIN users u ON u.family_id = s.family_id AND u.user_id = s.user_id
             JOIN families f ON f.family_id = s.family_id
             WHERE s.state IS NOT DISTINCT FROM 'pending' AND s.next_attempt_at <= now()
             -- Rows that another worker is claiming stay with that worker.
             FOR UPDATE OF s SKIP LOCKED
         ), decided AS (
             SELECT *, ",
        claimed_state!(),
        "           AS state FROM due
         ), claimed AS (
             UPDATE sms s SET
                 state = d.state,
                 reason = d.reason,
                 attempts = s.attempts + (d.state = 'sending')::int,
                 lease_token = CASE WHEN d.state = 'sending' THEN $4 END,
                 lease_until = CASE WHEN d.state = 'sending' THEN now() + make_interval(secs => $5) END
             FROM decided d
             WHERE s.family_id = d.family_id AND s.sms_id = d.sms_id
             RETURNING s.sms_id, s.attempts
         ), linked AS (
             INSERT INTO magic_links (jti, family_id, thread_id, user_id, sms_id, access_epoch, expires_at)
             SELECT link, family_id, thread_id, user_id, sms_id, access_epoch,
                    now() + make_interval(secs => $6)
             FROM decided WHERE state = 'sending'
             ON CONFLICT (sms_id) DO UPDATE SET
                 jti = excluded.jti, access_epoch = excluded.access_epoch,
                 expires_at = excluded.expires_at, created_at = now()
         )
         SELECT due.family_id, due.thread_id, due.user_id, due.sms_id, due.state, due.reason,
                claimed.attempts, ",
        claimed_columns!(),
        "FROM decided due JOIN claimed USING (sms_id)",
    ))
    .bind(families)
    .bind(ids)
    .bind(new_links(links.len()))
    .bind(lease.0)
    .bind(LEASE.as_secs_f64())
    .bind(LINK_LIFE.as_secs_f64())
    .bind(stop_notices.map(|every| every.as_secs_f64()))
    .fetch_all(tx)
    .await?;
    sort(&rows)
}

/// The SMS to send, and those that are not to be sent.
fn sort(rows: &[sqlx::postgres::PgRow]) -> Result<Found> {
    let (mut claimed, mut settled) = (Vec::with_capacity(rows.len()), Vec::new());
    for row in rows {
        if row.try_get::<DeliveryState, _>("state")? == DeliveryState::Sending {
            claimed.push(Claimed::from_row(row)?);
        } else {
            settled.push(Settled::from_row(row)?);
        }
    }
    Ok((claimed, settled))
}

fn new_links(count: usize) -> Vec<Vec<u8>> {
    (0..count).map(|_| LinkId::new().as_bytes().to_vec()).collect()
}

type Columns<'a> = (Vec<&'a str>, Vec<crate::ids::ThreadId>, Vec<&'a str>);

/// The columns of these members, for `unnest`.
pub(super) fn columns(members: &[Recipient]) -> Columns<'_> {
    (
        members.iter().map(|member| member.family_id.as_str()).collect(),
        members.iter().map(|member| member.thread_id).collect(),
        members.iter().map(|member| member.user_id.as_str()).collect(),
    )
}
