//! "Due" as the sweep and a post say it, beside what a claim then does: too often is harmless, too seldom is a
//! text that is lost.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use shared::{
    actor::Actor,
    delivery::{self, Pacing, Wanted},
    ids::{FamilyId, ThreadId, UserId},
    messages::{self, NewMessage},
    queue::{Job, Recipient},
};
use tests::{System, system::FAMILY};

const PACING: Pacing = Pacing { per_minute: 0 };

/// A member for each combination of the columns that a rule reads, in six threads of two messages: the newest
/// there, deleted, and both too old; each once for the sweep and once for a post.
const MEMBERS: &str = "
    CREATE TABLE combination AS
    SELECT 'm' || row_number() OVER () AS user_id, * FROM
        unnest(ARRAY['fine', 'no_number', 'opted_out', 'left', 'invited']) AS may,
        unnest(ARRAY['none', 'user_mid', 'user_after', 'member_mid', 'member_after', 'mute_mid', 'mute_after',
                     'mute_runs', 'user_mid_mute_after', 'mute_mid_member_after']) AS floor,
        generate_series(0, 2) AS read, generate_series(0, 2) AS covered, generate_series(0, 2) AS joined,
        unnest(ARRAY['none', 'pending', 'sending', 'link']) AS open;
    INSERT INTO users (family_id, user_id, name, phone, opted_out_at, texts_from)
    SELECT 'fam', user_id, 'Name',
           CASE WHEN may <> 'no_number' THEN '+1555' || lpad(substr(user_id, 2), 7, '0') END,
           CASE WHEN may = 'opted_out' THEN now() END,
           CASE WHEN floor LIKE 'user_mid%' THEN now() - interval '50 min'
                WHEN floor = 'user_after' THEN now() - interval '30 min' END
    FROM combination;
    CREATE TABLE kind AS
    SELECT uuid_v7() AS thread_id, * FROM unnest(ARRAY['there', 'deleted', 'old']) AS newest,
        unnest(ARRAY['sweep', 'post']) AS for_what;
    INSERT INTO threads (family_id, thread_id, kind, member_key, is_distinct, created_by, last_seq, last_loud_seq,
                         last_message_at, last_loud_at)
    SELECT 'fam', thread_id, 'GROUP', thread_id::text, true, 'u0', 2, 2, at, at
    FROM kind CROSS JOIN LATERAL
        (SELECT now() - CASE newest WHEN 'old' THEN interval '73 hours' ELSE interval '40 min' END AS at) a;
    INSERT INTO thread_members (family_id, thread_id, user_id, role)
    SELECT 'fam', thread_id, 'u0', 'OWNER' FROM kind;
    INSERT INTO messages (family_id, thread_id, seq, message_id, author_id, body, queued_count, created_at,
                          deleted_at)
    SELECT 'fam', thread_id, seq, uuid_v7(), 'u0', 'm', 0,
           now() - CASE newest WHEN 'old' THEN interval '73 hours' ELSE interval '40 min' END
                 - (2 - seq) * interval '20 min',
           CASE WHEN newest = 'deleted' AND seq = 2 THEN now() END
    FROM kind, generate_series(1, 2) AS seq;
    INSERT INTO thread_members (family_id, thread_id, user_id, role, status, joined_seq, texts_from, muted_until)
    SELECT 'fam', thread_id, user_id, 'MEMBER', CASE WHEN may IN ('left', 'invited') THEN may ELSE 'active' END,
           joined,
           CASE WHEN floor = 'member_mid' THEN now() - interval '50 min'
                WHEN floor LIKE '%member_after' THEN now() - interval '30 min' END,
           CASE WHEN floor LIKE 'mute_mid%' THEN now() - interval '50 min'
                WHEN floor LIKE '%mute_after' THEN now() - interval '30 min'
                WHEN floor = 'mute_runs' THEN 'infinity' END
    FROM kind, combination;
    INSERT INTO reach (family_id, thread_id, user_id, last_read_seq, covered_seq)
    SELECT 'fam', thread_id, user_id, read, covered FROM kind, combination WHERE read > 0 OR covered > 0;
    INSERT INTO sms (sms_id, family_id, thread_id, user_id, kind, state, attempts, next_attempt_at, lease_token,
                     lease_until, expires_at)
    SELECT uuid_v7(), 'fam', thread_id, user_id, CASE open WHEN 'link' THEN 'link' ELSE 'message' END,
           CASE open WHEN 'sending' THEN 'sending' ELSE 'pending' END, 1, now() - interval '1 min', uuid_v7(),
           now() + interval '1 hour', now() + interval '1 hour'
    FROM kind, combination WHERE open <> 'none';
    INSERT INTO sms_covers (family_id, thread_id, user_id, from_seq, to_seq, sms_id, reason)
    SELECT 'fam', k.thread_id, c.user_id, 1, c.covered, s.sms_id,
           CASE WHEN s.sms_id IS NULL THEN 'read' END
    FROM kind k CROSS JOIN combination c
    LEFT JOIN sms s ON s.thread_id = k.thread_id AND s.user_id = c.user_id AND s.kind = 'message'
    WHERE c.covered > 0;
    ANALYZE";

/// The members of a thread for whom a claim makes a new SMS.
async fn texted(system: &System, thread: ThreadId, members: &[Recipient]) -> BTreeSet<UserId> {
    let mut texted = BTreeSet::new();
    for some in members.chunks(500) {
        let here = some.iter().map(|member| Recipient { thread_id: thread, ..member.clone() });
        let wanted: Wanted = here.collect();
        let claim = delivery::claim(&system.stack.worker.db, &wanted, None, PACING).await;
        let claimed = claim.expect("a claim").claimed;
        // The open ones have been tried before.
        let fresh = claimed.into_iter().filter(|claimed| claimed.attempts == 1);
        texted.extend(fresh.map(|claimed| claimed.recipient.user_id));
    }
    texted
}

/// The members that jobs in the queue name.
async fn called(system: &System, jobs: usize) -> BTreeSet<UserId> {
    let sqs = &system.stack.sqs;
    let mut called = BTreeSet::new();
    let mut received = 0;
    while received < jobs {
        let request = sqs.client().receive_message().queue_url(&sqs.queue_url);
        let batch = request.max_number_of_messages(10).send().await.expect("a queue");
        for message in batch.messages() {
            received += 1;
            let Ok(Job::Reach(member)) = Job::parse(message.body().expect("a body")) else {
                panic!("not of a member")
            };
            called.insert(member.user_id);
        }
    }
    called
}

#[tokio::test]
async fn whom_a_claim_would_text_is_called_due() {
    let system = System::start().await;
    system.family(1).await;
    sqlx::raw_sql(MEMBERS).execute(&system.owner).await.expect("members");
    let ids: Vec<UserId> = sqlx::query_scalar("SELECT user_id FROM combination")
        .fetch_all(&system.owner)
        .await
        .expect("members");
    let kinds: Vec<(ThreadId, String, String)> =
        sqlx::query_as("SELECT thread_id, newest, for_what FROM kind ORDER BY thread_id")
            .fetch_all(&system.owner)
            .await
            .expect("threads");
    let family_id: FamilyId = FAMILY.parse().expect("an id");
    let author = Actor::member(family_id.clone(), "u0".parse().expect("an id"));
    let app = shared::db::Database::new(system.database_url(), 1).expect("a URL");
    let app = app.pool_as(shared::db::Role::App);
    let mut counts = Vec::new();
    for (thread_id, newest, for_what) in kinds {
        let members: Vec<Recipient> = ids
            .iter()
            .map(|id| Recipient { family_id: family_id.clone(), thread_id, user_id: id.clone() })
            .collect();
        let due: BTreeSet<UserId> = if for_what == "post" {
            let new = NewMessage::new(Some("m".to_owned()), Vec::new(), None).expect("a text");
            let posted = messages::post(&app, &author, thread_id, &new, None, None).await;
            posted.expect("posted").due.into_iter().collect()
        } else {
            sqlx::query("UPDATE threads SET wake_at = CASE WHEN thread_id = $1 THEN now() END")
                .bind(thread_id)
                .execute(&system.owner)
                .await
                .expect("due");
            let until = Instant::now() + Duration::from_mins(1);
            let queue = system.stack.queue();
            let woken =
                delivery::wake_members(&system.stack.worker.db, &queue, PACING, until).await;
            let woken = woken.expect("woken");
            assert_eq!(woken.not_taken, 0);
            called(&system, woken.enqueued).await
        };
        let texted = texted(&system, thread_id, &members).await;
        let missed: Vec<&UserId> = texted.difference(&due).take(3).collect();
        assert!(missed.is_empty(), "{newest}, {for_what}: {missed:?} of {}", texted.len());
        counts.push((newest, for_what, texted.len(), due.len()));
    }
    // Some are texted and many are not, so the table says something.
    let texted: Vec<usize> = counts.iter().map(|(_, _, texted, _)| *texted).collect();
    let all = ids.len();
    assert!(texted.iter().filter(|&&n| 0 < n && n < all / 2).count() >= 5, "{counts:?}");
    eprintln!("{counts:?} of {all}");
}

/// A sweeper that was away delays texts, never their end.
#[tokio::test]
async fn what_was_not_texted_about_for_three_days_expires() {
    let system = System::start().await;
    system.family(2).await;
    let u0 = system.member("u0");
    let thread = u0.thread(&["u1".to_owned()]).await;
    let posted = u0.say(&thread, "in vain").await;
    system.pass(Duration::from_hours(73)).await;
    assert_eq!(system.sweep().await.enqueued, 0);
    system.deliver().await;
    assert_eq!(system.sms_of(1).len(), 0);
    let message = posted.text("/message/id");
    let path = format!("/threads/{thread}/messages/{message}/deliveries");
    let delivery = u0.get(&path).await.at("/deliveries/0");
    assert_eq!((&delivery["state"], &delivery["reason"]), (&"failed".into(), &"expired".into()));
}
