//! A family that is much larger than the others: the data set that shows what a request reads.

use shared::{
    actor::Actor,
    ids::{FamilyId, ThreadId, UserId},
};
use sqlx::{Connection, PgConnection};

/// Threads of `u0`, of two members each.
pub const THREADS: i64 = 5_000;
/// Members of the widest thread, which are all users of the family.
pub const MEMBERS: i64 = 256;
/// Messages of the family.
pub const MESSAGES: i64 = 200_000;

/// Messages of each thread of two.
const EACH: i64 = 30;

/// Places of the large family.
pub struct Large {
    /// The member of all threads.
    pub member: Actor,
    /// One of the threads of two members.
    pub narrow: ThreadId,
    /// The thread of all users, which has the rest of the messages.
    pub wide: ThreadId,
}

/// Writes three thousand families of four and the large one into an empty database at `url`, whose login is a
/// superuser: foreign keys are not checked, since the rows satisfy them.
///
/// The small families matter: by the average over all, a user has one thread, so that the planner believes an
/// index of a user's threads to be as good as one of a membership.
///
/// # Errors
/// Errors of the database.
pub async fn fill(url: &str) -> sqlx::Result<Large> {
    let mut owner = PgConnection::connect(url).await?;
    for setting in ["SET session_replication_role = replica", "SET synchronous_commit = off"] {
        sqlx::query(setting).execute(&mut owner).await?;
    }
    sqlx::query(FAMILIES).execute(&mut owner).await?;
    sqlx::query(PEOPLE).bind(MEMBERS).execute(&mut owner).await?;
    sqlx::query(IN_THREADS).bind(THREADS).execute(&mut owner).await?;
    sqlx::query(AS_MEMBERS).bind(MEMBERS).execute(&mut owner).await?;
    let wide = MESSAGES - THREADS * EACH;
    sqlx::query(POSTS).bind(EACH).bind(wide).execute(&mut owner).await?;
    sqlx::query("VACUUM (ANALYZE)").execute(&mut owner).await?;
    let thread = "SELECT thread_id FROM threads WHERE family_id = 'large' AND title = $1";
    let narrow = sqlx::query_scalar(thread).bind("2500").fetch_one(&mut owner).await?;
    let wide = sqlx::query_scalar(thread).bind("wide").fetch_one(&mut owner).await?;
    owner.close().await?;
    let (family, member): (Result<FamilyId, _>, Result<UserId, _>) =
        ("large".parse(), "u0".parse());
    let (Ok(family), Ok(member)) = (family, member) else {
        unreachable!("both are ids");
    };
    Ok(Large { member: Actor::member(family, member), narrow, wide })
}

const FAMILIES: &str = "
    INSERT INTO families (family_id, name)
    SELECT 'small' || f, 'Small' FROM generate_series(1, 3000) f
    UNION ALL SELECT 'large', 'Large'";

const PEOPLE: &str = "
    INSERT INTO users (family_id, user_id, name, phone)
    SELECT family_id, 'u' || u, 'Name ' || u,
           '+1555' || lpad((row_number() OVER ())::text, 7, '0')
    FROM families
    CROSS JOIN generate_series(0, CASE family_id WHEN 'large' THEN $1 - 1 ELSE 3 END) u";

/// The title of a thread of the large family is its number, or `wide`.
const IN_THREADS: &str = "
    INSERT INTO threads (thread_id, family_id, kind, title, member_key, is_distinct, created_by)
    SELECT uuid_v7(), family_id, 'GROUP', title, md5(family_id || title), true, 'u0'
    FROM (
        SELECT family_id, 'wide' AS title FROM families
        UNION ALL SELECT 'large', t::text FROM generate_series(1, $1) t
    ) thread";

/// In no order, as in a database that grew: the memberships of one user are on many pages.
const AS_MEMBERS: &str = "
    INSERT INTO thread_members (family_id, thread_id, user_id, role)
    SELECT family_id, thread_id, user_id, 'MEMBER'
    FROM threads JOIN users USING (family_id)
    WHERE title = 'wide' OR user_id IN ('u0', 'u' || 1 + title::bigint % ($1 - 1))
    ORDER BY md5(thread_id::text || user_id)";

/// Messages in turn, as in a database that grew: those of one thread are on many pages.
const POSTS: &str = "
    WITH numbered AS (
        SELECT family_id, thread_id, CASE
            WHEN title <> 'wide' THEN $1 WHEN family_id = 'large' THEN $2 ELSE 10 END AS posts
        FROM threads
    ), counted AS (
        UPDATE threads t SET last_seq = posts, last_message_at = now()
        FROM numbered n WHERE n.thread_id = t.thread_id
    )
    INSERT INTO messages (family_id, thread_id, seq, message_id, author_id, body, queued_count, created_at)
    SELECT family_id, thread_id, seq, uuid_v7(), 'u0', 'Bring the albums on Sunday, will you?', 1,
           now() - interval '1 year' * (1 - seq::float8 / posts)
    FROM numbered CROSS JOIN generate_series(1, posts) seq
    ORDER BY seq::float8 / posts";
