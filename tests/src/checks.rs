//! What holds over the whole database whenever no work is under way.

use sqlx::{AssertSqlSafe, Row};

use crate::System;

/// A rule, and a statement that selects what breaks it, a word or two for each row.
type Rule = (&'static str, String);

/// The messages that a member is owed a text about, as `thread_id`, `user_id`, `seq` and `covered_seq`:
/// written anew here, message by message, so that it does not repeat a mistake of the product. Fenced, since
/// PostgreSQL has no statistics of a new database.
const OWED: &str = "
    SELECT m.family_id, m.thread_id, tm.user_id, m.seq, coalesce(r.covered_seq, 0) AS covered_seq, t.wake_at
    FROM messages m
    JOIN threads t ON t.family_id = m.family_id AND t.thread_id = m.thread_id
    JOIN users a ON a.family_id = m.family_id AND a.user_id = m.author_id
    CROSS JOIN LATERAL (
        SELECT * FROM thread_members
        WHERE family_id = m.family_id AND thread_id = m.thread_id AND user_id <> m.author_id OFFSET 0
    ) tm
    CROSS JOIN LATERAL (
        SELECT * FROM users WHERE family_id = tm.family_id AND user_id = tm.user_id OFFSET 0
    ) u
    LEFT JOIN reach r ON r.family_id = tm.family_id AND r.thread_id = tm.thread_id
        AND r.user_id = tm.user_id
    WHERE tm.status = 'active' AND u.phone IS NOT NULL AND u.opted_out_at IS NULL
      AND m.deleted_at IS NULL AND a.deactivated_at IS NULL
      AND m.seq > tm.joined_seq AND m.seq > coalesce(r.last_read_seq, 0)
      AND m.created_at > now() - interval '72 hours'
      AND m.created_at > coalesce(u.texts_from, '-infinity')
      AND m.created_at > coalesce(tm.texts_from, '-infinity')
      AND m.created_at > coalesce(tm.muted_until, '-infinity')";

/// The rules over covers, SMS and threads.
fn rules() -> [Rule; 10] {
    let member = "c.thread_id || ' ' || c.user_id";
    [
        (
            "covers of a member overlap",
            format!(
                "SELECT {member} FROM sms_covers c
                 JOIN sms_covers d USING (family_id, thread_id, user_id)
                 WHERE d.to_seq > c.to_seq AND d.from_seq <= c.to_seq"
            ),
        ),
        (
            // Before they joined, or rejoined, there may be none.
            "numbers from joined_seq to covered_seq lie in no cover",
            format!(
                "SELECT {member} || ': ' || c.joined_seq || ' to ' || r.covered_seq
                 FROM reach r
                 JOIN thread_members c USING (family_id, thread_id, user_id)
                 WHERE r.covered_seq > c.joined_seq AND r.covered_seq - c.joined_seq IS DISTINCT FROM (
                     SELECT sum(d.to_seq - greatest(d.from_seq, c.joined_seq + 1) + 1)
                     FROM sms_covers d
                     WHERE d.family_id = c.family_id AND d.thread_id = c.thread_id
                       AND d.user_id = c.user_id AND d.to_seq > c.joined_seq
                 )"
            ),
        ),
        (
            "covered_seq is not the newest number of a cover",
            format!(
                "SELECT {member} FROM thread_members c
                 LEFT JOIN reach r USING (family_id, thread_id, user_id)
                 WHERE coalesce(r.covered_seq, 0) <> coalesce((
                     SELECT max(d.to_seq) FROM sms_covers d
                     WHERE d.family_id = c.family_id AND d.thread_id = c.thread_id AND d.user_id = c.user_id
                 ), 0)"
            ),
        ),
        (
            "covered or read further than the thread's last message",
            format!(
                "SELECT {member} FROM reach c JOIN threads t USING (family_id, thread_id)
                 WHERE greatest(c.covered_seq, c.last_read_seq) > t.last_seq"
            ),
        ),
        (
            "an SMS about messages covers none",
            "SELECT s.sms_id::text FROM sms s
             WHERE s.kind = 'message' AND NOT EXISTS (SELECT FROM sms_covers c WHERE c.sms_id = s.sms_id)"
                .to_owned(),
        ),
        (
            "covers of another member's SMS",
            format!(
                "SELECT {member} FROM sms_covers c JOIN sms s ON s.sms_id = c.sms_id
                 WHERE (s.family_id, s.thread_id, s.user_id) <> (c.family_id, c.thread_id, c.user_id)
                    OR s.kind <> 'message'"
            ),
        ),
        (
            "a member has several open SMS about messages in a thread",
            format!(
                "SELECT {member} FROM sms c WHERE c.kind = 'message' AND c.state IN ('pending', 'sending')
                 GROUP BY c.family_id, c.thread_id, c.user_id HAVING count(*) > 1"
            ),
        ),
        (
            "an owed message neither waits nor stands in a cover that says what became of it",
            format!(
                "SELECT c.thread_id || ' ' || c.user_id || ': ' || c.seq FROM ({OWED}) c
                 LEFT JOIN sms_covers d ON d.family_id = c.family_id AND d.thread_id = c.thread_id
                     AND d.user_id = c.user_id AND c.seq BETWEEN d.from_seq AND d.to_seq
                 LEFT JOIN sms s ON s.family_id = d.family_id AND s.sms_id = d.sms_id
                 WHERE NOT CASE
                     WHEN c.seq > c.covered_seq THEN c.wake_at IS NOT NULL
                     WHEN d.sms_id IS NULL THEN coalesce(d.reason = 'region_not_allowed', false)
                     ELSE s.state IN ('pending', 'sending', 'sent')
                       OR s.state IN ('unknown', 'failed', 'suppressed') AND s.reason IS NOT NULL
                 END"
            ),
        ),
        (
            "an SMS is open, and nothing will look at it",
            format!(
                "SELECT {member} FROM sms c JOIN threads t USING (family_id, thread_id)
                 WHERE c.kind = 'message' AND c.state IN ('pending', 'sending') AND t.wake_at IS NULL"
            ),
        ),
        (
            "not looked at for five minutes",
            "SELECT thread_id::text FROM threads WHERE wake_at < now() - interval '5 minutes'
             UNION ALL
             SELECT sms_id::text FROM sms
             WHERE state = 'pending' AND greatest(wake_at, next_attempt_at) < now() - interval '5 minutes'
                OR state = 'sending' AND lease_until < now() - interval '5 minutes'"
                .to_owned(),
        ),
    ]
}

/// Checks the rules of delivery over every row. Returns what breaks them, in words.
///
/// Call it when no request, worker or sweeper is at work. It expects covers back to each member's joining,
/// so none that retention has deleted.
pub async fn database(system: &System) -> Vec<String> {
    let mut broken = Vec::new();
    for (rule, statement) in rules() {
        let rows = sqlx::query(AssertSqlSafe(statement)).fetch_all(&system.owner).await;
        let rows = rows.unwrap_or_else(|error| panic!("{rule}: {error}"));
        if let Some(first) = rows.first() {
            let first: String = first.get(0);
            broken.push(format!("{rule}: {} times, first {first}", rows.len()));
        }
    }
    broken
}

/// The number of open SMS, and of messages and recipients that no SMS covers yet though it is owed.
pub async fn waiting(system: &System) -> i64 {
    let statement = format!(
        "SELECT (SELECT count(*) FROM sms WHERE state IN ('pending', 'sending'))
              + (SELECT count(*) FROM ({OWED}) owed WHERE seq > covered_seq)"
    );
    let count = sqlx::query_scalar(AssertSqlSafe(statement)).fetch_one(&system.owner).await;
    count.expect("a count")
}
