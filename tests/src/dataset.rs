//! Families with a history, generated in SQL: the data set of benchmarks and query plans.

use shared::{
    actor::Actor,
    ids::{FamilyId, ThreadId, UserId},
};
use sqlx::{Connection, PgConnection};
use time::OffsetDateTime;

/// Users of a family: `u0`, `u1`, …
pub const USERS: i64 = 50;
/// Numbers of members of the threads that every family has: the first of its users.
pub const MEMBERS: [i64; 3] = [2, 10, 50];
/// Lengths of the threads of ten members that exist once each, if they fit.
pub const LENGTHS: [i64; 3] = [100, 10_000, 100_000];

/// Number of statements that write the messages.
const BATCHES: i64 = 50;

/// A thread and one of its members.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Place {
    /// The family: `f0`, `f1`, …
    pub family_id: FamilyId,
    /// The thread.
    pub thread_id: ThreadId,
    /// A member: `u0`.
    pub user_id: UserId,
    /// The number of its members: the first of the family's users.
    pub members: i64,
    /// The number of its messages when it was written.
    pub messages: i64,
    /// Whether resolving its members finds it; not so the threads of [`LENGTHS`] and the longest.
    pub is_distinct: bool,
}

impl Place {
    /// The member, authenticated by a token.
    #[must_use]
    pub fn actor(&self) -> Actor {
        Actor::member(self.family_id.clone(), self.user_id.clone())
    }
}

/// The distribution of messages over threads.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Shape {
    families: i64,
    /// Messages of each thread that exists once, the longest first.
    single: Vec<i64>,
    /// Messages of each thread that every family has.
    each: i64,
}

impl Shape {
    /// Half of all messages in one thread, the rest in threads of a hundred or two.
    fn of(messages: i64) -> Self {
        let families = (messages / 1000).max(10);
        // One of each of `MEMBERS`.
        let threads = families * 3;
        let mut single: Vec<i64> =
            LENGTHS.into_iter().rev().filter(|length| *length <= messages / 10).collect();
        let others: i64 = single.iter().sum();
        let each = ((messages / 2 - others) / threads).max(1);
        single.insert(0, (messages - others - each * threads).max(1));
        Self { families, single, each }
    }
}

/// Writes families, users, threads, `messages` messages of two years, and the SMS, covers and links
/// of the last week, into an empty database at `url`, whose login is a superuser: foreign keys are not
/// checked, since the rows satisfy them. The same data each time, but for the times, which end now.
///
/// Messages lie on disk in the order of their times, as in a database that grew: the rows of one page
/// of history are among those of other threads.
///
/// `progress` gets the number of messages written and the total.
///
/// # Errors
/// Errors of the database.
pub async fn fill(
    url: &str,
    messages: i64,
    mut progress: impl FnMut(i64, i64),
) -> sqlx::Result<()> {
    let shape = Shape::of(messages);
    let now = OffsetDateTime::now_utc();
    let mut connection = PgConnection::connect(url).await?;
    for setting in [
        "SET session_replication_role = replica",
        // The data need not survive a crash.
        "SET synchronous_commit = off",
        "SET work_mem = '256MB'",
        "SET timezone = 'UTC'",
    ] {
        sqlx::query(setting).execute(&mut connection).await?;
    }
    sqlx::query(FAMILIES).bind(shape.families).bind(now).execute(&mut connection).await?;
    sqlx::query(PEOPLE).bind(shape.families).bind(USERS).bind(now).execute(&mut connection).await?;
    sqlx::query(THREADS)
        .bind(shape.families)
        .bind(MEMBERS)
        .bind(shape.each)
        .bind(&shape.single)
        .bind(now)
        .execute(&mut connection)
        .await?;
    // Gives the planner statistics of threads before their messages are written.
    sqlx::query("ANALYZE threads, thread_members").execute(&mut connection).await?;
    progress(0, messages);
    let mut written = 0;
    for batch in 0..BATCHES {
        let done = sqlx::query(POSTS).bind(batch).bind(BATCHES).bind(now);
        written += done.execute(&mut connection).await?.rows_affected().cast_signed();
        progress(written, messages);
    }
    sqlx::query(TEXTS).bind(now).execute(&mut connection).await?;
    sqlx::query("VACUUM (ANALYZE)").execute(&mut connection).await?;
    connection.close().await
}

/// The threads of a database that [`fill`] wrote, the longest first.
///
/// # Errors
/// Errors of the database.
pub async fn places(url: &str) -> sqlx::Result<Vec<Place>> {
    let mut connection = PgConnection::connect(url).await?;
    let places = sqlx::query_as(
        "SELECT t.family_id, t.thread_id, t.created_by AS user_id, t.is_distinct,
                (SELECT count(*) FROM thread_members tm
                 WHERE tm.family_id = t.family_id AND tm.thread_id = t.thread_id) AS members,
                t.last_seq AS messages
         FROM threads t
         ORDER BY t.last_seq DESC, t.thread_id",
    )
    .fetch_all(&mut connection)
    .await?;
    connection.close().await?;
    Ok(places)
}

const FAMILIES: &str = "
    INSERT INTO families (family_id, name, created_at, updated_at)
    SELECT 'f' || f, 'Family ' || f, $2 - interval '730 days', $2 - interval '730 days'
    FROM generate_series(0, $1 - 1) f";

const PEOPLE: &str = "
    INSERT INTO users (family_id, user_id, name, phone, created_at, updated_at)
    SELECT 'f' || f, 'u' || u, 'Name ' || u, '+1555' || lpad((f * $2 + u)::text, 7, '0'),
           $3 - interval '730 days', $3 - interval '730 days'
    FROM generate_series(0, $1 - 1) f, generate_series(0, $2 - 1) u";

/// Writes threads with their members; `last_seq` is the number of messages that they will have.
const THREADS: &str = "
    WITH wanted AS (
        SELECT f AS family, members, $3::bigint AS messages, false AS is_distinct
        FROM generate_series(0, $1 - 1) f, unnest($2::bigint[]) members
        UNION ALL
        SELECT number - 1, 10, messages, true
        FROM unnest($4::bigint[]) WITH ORDINALITY AS single (messages, number)
    ), named AS (
        SELECT *, 'f' || family AS family_id, $5::timestamptz - interval '730 days' AS began,
               md5(format('thread %s %s %s', family, members, is_distinct)) AS bits,
               (SELECT encode(sha256(convert_to(
                    string_agg('u' || u, ',' ORDER BY ('u' || u) COLLATE \"C\"), 'UTF8')), 'hex')
                FROM generate_series(0, members - 1) u) AS member_key
        FROM wanted
    ), made AS (
        INSERT INTO threads (thread_id, family_id, kind, title, member_key, is_distinct, last_seq,
                             last_message_at, last_loud_seq, last_loud_at, created_by, created_at,
                             updated_at)
        SELECT (lpad(to_hex((extract(epoch FROM began) * 1000)::bigint), 12, '0')
                || '7' || substr(bits, 1, 3) || '8' || substr(bits, 4, 15))::uuid,
               family_id, 'FAMILY', NULL,
               member_key, is_distinct, messages,
               began + interval '730 days' * ((messages - 0.5) / messages), messages,
               began + interval '730 days' * ((messages - 0.5) / messages), 'u0', began,
               began + interval '730 days' * ((messages - 0.5) / messages)
        FROM named
        RETURNING thread_id, family_id, member_key, is_distinct, last_seq, created_at
    ), joined AS (
        INSERT INTO thread_members (family_id, thread_id, user_id, role, joined_at)
        SELECT family_id, m.thread_id, 'u' || u, CASE u WHEN 0 THEN 'OWNER' ELSE 'MEMBER' END, m.created_at
        FROM made m
        JOIN named n USING (family_id, member_key, is_distinct)
        CROSS JOIN generate_series(0, n.members - 1) u
        RETURNING family_id, thread_id, user_id
    )
    INSERT INTO reach (family_id, thread_id, user_id, last_read_seq, covered_seq)
    -- Every fifth has read it all.
    SELECT family_id, j.thread_id, user_id, greatest(m.last_seq - substr(user_id, 2)::int % 5, 0), m.last_seq
    FROM joined j JOIN made m USING (family_id, thread_id)";

/// Writes the messages of a part of the two years: each thread's share, its members in turn.
const POSTS: &str = "
    INSERT INTO messages (family_id, thread_id, seq, message_id, author_id, body, idempotency_key,
                          request_hash, queued_count, created_at)
    SELECT family_id, thread_id, seq,
           (lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0')
            || '7' || substr(bits, 1, 3) || '8' || substr(bits, 4, 15))::uuid,
           'u' || seq % members,
           -- 20 to 119 characters.
           left(repeat('Bring the albums on Sunday, will you? ', 4), (20 + seq * 37 % 100)::integer),
           CASE WHEN at > $3 - interval '7 days' THEN bits END,
           CASE WHEN at > $3 - interval '7 days' THEN sha256(convert_to(bits, 'UTF8')) END,
           members - 1, at
    FROM (
        SELECT t.family_id, t.thread_id, seq, m.members,
               md5(t.thread_id::text || seq) AS bits,
               t.created_at + interval '730 days' * ((seq - 0.5) / t.last_seq) AS at
        FROM threads t
        JOIN (SELECT family_id, thread_id, count(*) AS members FROM thread_members GROUP BY 1, 2) m
            USING (family_id, thread_id)
        CROSS JOIN generate_series(t.last_seq * $1 / $2 + 1, t.last_seq * ($1 + 1) / $2) seq
    ) post
    ORDER BY at, thread_id";

/// Writes the last week's SMS, one for each recipient of a message, all sent, each with its link.
const TEXTS: &str = "
    WITH texted AS (
        INSERT INTO sms (sms_id, family_id, thread_id, user_id, kind, state, attempts, segments,
                         carrier_message_id, next_attempt_at, wake_at, expires_at, created_at, sent_at)
        SELECT overlay(m.message_id::text PLACING substr(bits, 1, 12) FROM 25)::uuid, m.family_id,
               m.thread_id, tm.user_id, 'message', 'sent', 1, 1, bits, m.created_at,
               m.created_at + interval '30 seconds', m.created_at + interval '72 hours',
               m.created_at, m.created_at + interval '1 second'
        FROM messages m
        JOIN thread_members tm ON tm.family_id = m.family_id AND tm.thread_id = m.thread_id
            AND tm.user_id <> m.author_id
        CROSS JOIN LATERAL (SELECT md5(m.message_id::text || tm.user_id) AS bits) random
        WHERE m.created_at > $1 - interval '7 days'
        ORDER BY m.created_at
        RETURNING *
    ), covered AS (
        INSERT INTO sms_covers (family_id, thread_id, user_id, to_seq, from_seq, sms_id, created_at)
        SELECT t.family_id, t.thread_id, t.user_id, m.seq, m.seq, t.sms_id, t.created_at
        FROM texted t
        JOIN messages m ON m.thread_id = t.thread_id AND m.created_at = t.created_at
    )
    INSERT INTO magic_links (jti, family_id, thread_id, user_id, sms_id, access_epoch, expires_at,
                             created_at)
    SELECT substr(decode(carrier_message_id, 'hex'), 9), family_id, thread_id, user_id, sms_id, 0,
           created_at + interval '24 hours', created_at
    FROM texted";

#[cfg(test)]
mod tests {
    use postgres::testing;
    use shared::{
        db::{Database, MIGRATOR, Role},
        messages::{self, NewMessage, Range},
        threads::{self, Kind, MemberSet, NewThread},
    };

    use sqlx::AssertSqlSafe;

    use super::*;

    #[tokio::test]
    async fn the_data_set_satisfies_constraints_and_can_be_used() {
        const MESSAGES: i64 = 20_000;
        let database = testing::database(&MIGRATOR).await;
        let mut told = Vec::new();
        fill(database.url(), MESSAGES, |done, total| told.push((done, total))).await.expect("data");
        assert_eq!(told.first(), Some(&(0, MESSAGES)));
        assert_eq!(told.last(), Some(&(MESSAGES, MESSAGES)));

        // Checks the foreign keys, which were not checked when the rows were written.
        let mut owner = PgConnection::connect(database.url()).await.expect("a database");
        let checks: Vec<String> = sqlx::query_scalar(
            "SELECT format('ALTER TABLE %s DROP CONSTRAINT %I, ADD CONSTRAINT %2$I %s',
                           conrelid::regclass, conname, pg_get_constraintdef(oid))
             FROM pg_constraint WHERE contype = 'f' AND connamespace = 'public'::regnamespace",
        )
        .fetch_all(&mut owner)
        .await
        .expect("a catalog");
        assert!(checks.len() > 10);
        for check in checks {
            sqlx::raw_sql(AssertSqlSafe(check.clone()))
                .execute(&mut owner)
                .await
                .unwrap_or_else(|error| panic!("{check}: {error}"));
        }
        let (sparse, texts): (bool, i64) = sqlx::query_as(
            "SELECT EXISTS (SELECT FROM threads t WHERE t.last_seq <> (
                        SELECT count(*) FROM messages m WHERE m.thread_id = t.thread_id)
                    OR t.last_message_at <> (
                        SELECT max(created_at) FROM messages m WHERE m.thread_id = t.thread_id)),
                    (SELECT count(*) FROM sms
                     JOIN sms_covers c USING (sms_id) JOIN magic_links l USING (sms_id)
                     WHERE sms.sent_at IS NOT NULL)",
        )
        .fetch_one(&mut owner)
        .await
        .expect("rows");
        assert!(!sparse && texts > 500, "{texts} texts");

        let pool = Database::new(database.url(), 1).expect("a URL").pool_as(Role::App);
        let places = places(database.url()).await.expect("threads");
        assert_eq!(places.iter().map(|place| place.messages).sum::<i64>(), MESSAGES);
        for members in MEMBERS {
            let place = places.iter().find(|p| p.members == members && !p.is_distinct);
            let place = place.expect("a thread");
            let Place { thread_id, user_id, messages, .. } = place;
            let actor = place.actor();
            let others = (0..members).map(|i| format!("u{i}").parse().expect("an id"));
            let new = NewThread {
                kind: Kind::Family,
                members: MemberSet::new(Kind::Family, user_id, others).expect("members"),
                title: None,
                distinct: false,
            };
            let found = threads::resolve_or_create(&pool, &actor, &new, None).await;
            let (thread, created) = found.expect("found");
            assert_eq!((thread.thread_id, created), (*thread_id, false));

            let page = messages::history(&pool, &actor, *thread_id, Range::Newest, 50);
            let page = page.await.expect("a page");
            assert_eq!(page.messages[0].seq, *messages);
            let new = NewMessage::new(Some("One more".to_owned()), vec![], None).expect("a text");
            let posted = messages::post(&pool, &actor, *thread_id, &new, None, None).await;
            let posted = posted.expect("posted");
            assert_eq!(posted.message.seq, messages + 1);
            assert_eq!(i64::from(posted.queued_count), members - 1);
        }
    }
}
