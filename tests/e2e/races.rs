//! Two transactions at once on one member, on real sessions, each stopped between its snapshot and its commit
//! while the other runs: nothing owed is lost, nothing is sent twice, and nobody waits for ever.

use std::time::{Duration, Instant};

use shared::{
    actor::{Actor, Host},
    db::{Database, Pool, Role},
    delivery::{self, Attempt, Claim, Outcome, Pacing, Reason, Recorded, Wanted},
    erasure, families,
    ids::ThreadId,
    members::{self, SmsPreference},
    messages::{self, NewMessage, Posted},
    phone::PhoneNumber,
    queue::Recipient,
    threads::{self, Kind, MemberSet, NewThread},
};
use sqlx::{Connection, PgConnection};
use tests::{
    System,
    system::{FAMILY, phone},
};

const PACING: Pacing = Pacing { per_minute: 0 };

/// What breaks a promise, anywhere in the database.
const BROKEN: &str = "
    SELECT format('%s is in two covers of %s', a.to_seq, a.user_id)
    FROM sms_covers a JOIN sms_covers b USING (family_id, thread_id, user_id)
    WHERE a.to_seq < b.to_seq AND b.from_seq <= a.to_seq
    UNION ALL
    SELECT format('covers of %s have a gap', r.user_id)
    FROM reach r JOIN thread_members tm USING (family_id, thread_id, user_id)
    WHERE r.covered_seq > tm.joined_seq AND r.covered_seq - tm.joined_seq <> (
        SELECT coalesce(sum(c.to_seq - c.from_seq + 1), 0) FROM sms_covers c
        WHERE c.thread_id = r.thread_id AND c.user_id = r.user_id AND c.from_seq > tm.joined_seq
    )
    UNION ALL
    SELECT format('%s is lost for %s', m.seq, tm.user_id)
    FROM messages m
    JOIN threads t USING (family_id, thread_id)
    JOIN thread_members tm USING (family_id, thread_id)
    JOIN users u ON u.family_id = tm.family_id AND u.user_id = tm.user_id
    LEFT JOIN reach r ON r.thread_id = tm.thread_id AND r.user_id = tm.user_id
    WHERE tm.user_id <> m.author_id AND tm.status = 'active' AND u.phone IS NOT NULL
      AND u.opted_out_at IS NULL AND m.deleted_at IS NULL
      AND m.seq > greatest(r.last_read_seq, tm.joined_seq)
      AND m.created_at > greatest(u.texts_from, tm.texts_from, tm.muted_until, now() - interval '72 hours')
      AND NOT EXISTS (
          SELECT FROM sms_covers c JOIN sms s USING (family_id, sms_id)
          WHERE c.thread_id = m.thread_id AND c.user_id = tm.user_id
            AND m.seq BETWEEN c.from_seq AND c.to_seq AND s.state NOT IN ('cancelled', 'suppressed')
      )
      AND (t.wake_at IS NULL OR m.seq <= coalesce(r.covered_seq, 0))";

/// A thread in which `u0` posts to `u1`, and a lock at which transactions stop.
struct Race {
    system: System,
    app: Pool,
    worker: Pool,
    author: Actor,
    member: Actor,
    host: Host,
    thread: ThreadId,
    /// Holds the lock.
    gate: PgConnection,
}

impl Race {
    async fn start() -> Self {
        let system = System::start().await;
        let members = system.family(2).await;
        let thread = system.member("u0").thread(&members).await.parse().expect("an id");
        let database = Database::new(system.database_url(), 4).expect("a URL");
        let family: shared::ids::FamilyId = FAMILY.parse().expect("an id");
        let actor = |id: &str| Actor::member(family.clone(), id.parse().expect("an id"));
        let mut gate = PgConnection::connect(system.database_url()).await.expect("a database");
        sqlx::raw_sql(
            "CREATE FUNCTION stop() RETURNS trigger LANGUAGE plpgsql SET lock_timeout = 0 AS $$ BEGIN
                 PERFORM pg_advisory_lock_shared(1);
                 PERFORM pg_advisory_unlock_shared(1);
                 RETURN NEW;
             END $$",
        )
        .execute(&mut gate)
        .await
        .expect("a function");
        Self {
            app: database.pool_as(Role::App),
            worker: database.pool_as(Role::Worker),
            author: actor("u0"),
            member: actor("u1"),
            host: Host { family, source: None },
            thread,
            gate,
            system,
        }
    }

    async fn run(&mut self, statement: &'static str) {
        sqlx::raw_sql(statement).execute(&mut self.gate).await.expect("run");
    }

    /// Stops what comes to this trigger, until [`Race::go`].
    async fn stop_at(&mut self, trigger: &'static str) {
        let create = format!("CREATE TRIGGER stop {trigger} FOR EACH ROW EXECUTE FUNCTION stop()");
        sqlx::raw_sql(sqlx::AssertSqlSafe(create))
            .execute(&mut self.gate)
            .await
            .expect("a trigger");
        self.run("SELECT pg_advisory_lock(1)").await;
    }

    async fn go(&mut self) {
        self.run("SELECT pg_advisory_unlock(1)").await;
    }

    /// Waits until so many transactions wait for a lock.
    async fn until_waiting(&mut self, count: i64) {
        let waiting = "SELECT count(*) FROM pg_stat_activity
                       WHERE datname = current_database() AND cardinality(pg_blocking_pids(pid)) > 0";
        loop {
            let now: i64 =
                sqlx::query_scalar(waiting).fetch_one(&mut self.gate).await.expect("a count");
            if now >= count {
                return;
            }
        }
    }

    fn post(&self) -> impl Future<Output = Posted> + Send + 'static {
        let (app, author, thread) = (self.app.clone(), self.author.clone(), self.thread);
        async move {
            let new = NewMessage::new(Some("m".to_owned()), Vec::new(), None).expect("a text");
            messages::post(&app, &author, thread, &new, None, None).await.expect("posted")
        }
    }

    fn claim(&self) -> impl Future<Output = Claim> + Send + 'static {
        let worker = self.worker.clone();
        let wanted: Wanted = [Recipient {
            family_id: self.host.family.clone(),
            thread_id: self.thread,
            user_id: self.member.user.clone(),
        }]
        .into_iter()
        .collect();
        async move { delivery::claim(&worker, &wanted, None, PACING).await.expect("a claim") }
    }

    fn record(
        &self,
        claim: Claim,
        outcome: Outcome,
    ) -> impl Future<Output = Vec<Recorded>> + Send + 'static {
        let worker = self.worker.clone();
        async move {
            let attempt = |sms| Attempt {
                sms,
                phone: PhoneNumber::parse(&phone(1), None).expect("a number"),
                called: true,
                outcome: outcome.clone(),
            };
            let attempts: Vec<Attempt> =
                claim.claimed.into_iter().map(|claimed| attempt(claimed.sms)).collect();
            delivery::record(&worker, claim.lease, &attempts).await.expect("recorded")
        }
    }

    /// The sweep of members, whose jobs are lost.
    fn sweep(&self) -> impl Future<Output = usize> + Send + 'static {
        let (worker, queue) = (self.worker.clone(), self.system.stack.queue());
        async move {
            let until = Instant::now() + Duration::from_secs(10);
            let woken = delivery::wake_members(&worker, &queue, PACING, until).await;
            woken.expect("woken").enqueued
        }
    }

    fn prefer(&self, preference: SmsPreference) -> impl Future<Output = ()> + Send + 'static {
        let (app, member, thread) = (self.app.clone(), self.member.clone(), self.thread);
        async move {
            members::set_sms_preference(&app, &member, thread, preference).await.expect("set");
        }
    }

    fn read(&self, seq: i64) -> impl Future<Output = ()> + Send + 'static {
        let (app, member, thread) = (self.app.clone(), self.member.clone(), self.thread);
        async move { members::mark_read(&app, &member, thread, seq).await.expect("read") }
    }

    fn erase(&self) -> impl Future<Output = ()> + Send + 'static {
        let (app, host, user) = (self.app.clone(), self.host.clone(), self.member.user.clone());
        async move {
            erasure::erase_user(&app, &host, &user, Duration::from_secs(5)).await.expect("erased");
        }
    }

    /// Back in the thread, once provisioned again.
    fn rejoin(&self) -> impl Future<Output = ()> + Send + 'static {
        let (app, author) = (self.app.clone(), self.author.clone());
        let members = MemberSet::new(Kind::Family, &author.user, [self.member.user.clone()]);
        let members = members.expect("members");
        async move {
            let new = NewThread { kind: Kind::Family, members, title: None, distinct: false };
            threads::resolve_or_create(&app, &author, &new, None).await.expect("found");
        }
    }

    /// Posts a message, whose SMS goes.
    async fn post_and_text(&self) {
        self.post().await;
        let claim = self.claim().await;
        assert_eq!(claim.claimed.len(), 1);
        self.record(claim, sent()).await;
    }

    async fn broken(&mut self) -> Vec<String> {
        sqlx::query_scalar(BROKEN).fetch_all(&mut self.gate).await.expect("a check")
    }

    /// No promise is broken; and once all has had its time, each message was texted about, by so many SMS in
    /// all.
    async fn settle(&mut self, texts: i64) {
        assert_eq!(self.broken().await, [""; 0]);
        for _ in 0..3 {
            self.system.pass(Duration::from_mins(10)).await;
            self.system.sweep().await;
            self.system.deliver().await;
        }
        assert_eq!(self.broken().await, [""; 0]);
        let sent: i64 = sqlx::query_scalar("SELECT count(*) FROM sms WHERE state = 'sent'")
            .fetch_one(&mut self.gate)
            .await
            .expect("a count");
        assert_eq!(sent, texts);
    }
}

fn sent() -> Outcome {
    Outcome::Sent { carrier_message_id: "c".to_owned(), segments: 1, stop_notice: false }
}

/// The sweep has seen that nobody is due, and is about to write that.
#[tokio::test]
async fn a_post_waits_for_a_sweep_that_has_looked_and_wakes_the_thread_again() {
    let mut race = Race::start().await;
    race.post_and_text().await;
    race.run("UPDATE threads SET wake_at = now() - interval '1 s', last_loud_at = now() - interval '1 min'").await;
    race.stop_at("BEFORE UPDATE OF wake_at ON threads").await;
    let sweep = tokio::spawn(race.sweep());
    race.until_waiting(1).await;
    let post = tokio::spawn(race.post());
    race.until_waiting(2).await;
    race.go().await;
    assert_eq!(sweep.await.expect("swept"), 0);
    post.await.expect("posted");
    race.settle(2).await;
}

#[tokio::test]
async fn a_sweep_passes_by_a_post_that_is_under_way() {
    let mut race = Race::start().await;
    race.post_and_text().await;
    race.run("UPDATE threads SET wake_at = now() - interval '1 s', last_loud_at = now() - interval '1 min'").await;
    race.stop_at("AFTER INSERT ON messages").await;
    let post = tokio::spawn(race.post());
    race.until_waiting(1).await;
    assert_eq!(race.sweep().await, 0);
    race.go().await;
    post.await.expect("posted");
    race.settle(2).await;
}

/// Its job finds the member locked, twice, by a claim that has not seen it.
#[tokio::test]
async fn a_post_during_a_claim_is_texted_about_after_it() {
    let mut race = Race::start().await;
    race.post().await;
    race.stop_at("BEFORE INSERT ON sms").await;
    let first = tokio::spawn(race.claim());
    race.until_waiting(1).await;
    race.post().await;
    let second = race.claim().await;
    assert_eq!(second.claimed.len(), 0, "the member is the other claim's");
    race.go().await;
    let first = first.await.expect("claimed");
    assert_eq!(first.claimed.len(), 1);
    assert_eq!(race.broken().await, [""; 0]);
    // The same run looks again.
    let recorded = race.record(first, sent()).await;
    assert!(recorded.iter().all(|recorded| recorded.more) && recorded.len() == 1);
    race.settle(2).await;
}

#[tokio::test]
async fn claims_of_one_member_at_once_make_one_sms() {
    let mut race = Race::start().await;
    race.post().await;
    race.stop_at("BEFORE INSERT ON sms").await;
    let claims: Vec<_> = (0..4).map(|_| tokio::spawn(race.claim())).collect();
    race.until_waiting(1).await;
    race.go().await;
    let mut claimed = Vec::new();
    for claim in claims {
        let claim = claim.await.expect("claimed");
        if !claim.claimed.is_empty() {
            claimed.push(claim);
        }
    }
    assert_eq!(claimed.len(), 1);
    race.record(claimed.remove(0), sent()).await;
    race.settle(1).await;
}

#[tokio::test]
async fn an_erasure_waits_for_a_claim_and_has_the_last_word() {
    let mut race = Race::start().await;
    race.post().await;
    race.stop_at("BEFORE INSERT ON sms").await;
    let claim = tokio::spawn(race.claim());
    race.until_waiting(1).await;
    let erasure = tokio::spawn(race.erase());
    race.until_waiting(2).await;
    race.go().await;
    assert_eq!(claim.await.expect("claimed").claimed.len(), 1);
    erasure.await.expect("erased");
    let links = race.system.count("magic_links").await;
    assert_eq!((links, race.broken().await.len()), (0, 0));
    race.post().await;
    assert_eq!(race.claim().await.claimed.len(), 0);
}

#[tokio::test]
async fn a_claim_passes_by_a_member_who_is_being_erased() {
    let mut race = Race::start().await;
    race.post().await;
    race.stop_at("BEFORE UPDATE OF status ON thread_members").await;
    let erasure = tokio::spawn(race.erase());
    race.until_waiting(1).await;
    assert_eq!(race.claim().await.claimed.len(), 0);
    race.go().await;
    erasure.await.expect("erased");
    assert_eq!(race.claim().await.claimed.len(), 0);
    assert_eq!((race.broken().await.len(), race.system.count("sms").await), (0, 0));
}

/// The record has not seen the post, whose job finds the SMS still open.
#[tokio::test]
async fn a_post_during_a_record_is_found_by_the_sweep() {
    for outcome in [sent(), Outcome::Failed { reason: Reason::InvalidNumber }] {
        let mut race = Race::start().await;
        race.post().await;
        let claim = race.claim().await;
        let goes = matches!(outcome, Outcome::Sent { .. });
        race.stop_at("BEFORE UPDATE OF state ON sms").await;
        let record = tokio::spawn(race.record(claim, outcome));
        race.until_waiting(1).await;
        race.post().await;
        assert_eq!(race.claim().await.claimed.len(), 0, "its SMS is still open");
        race.go().await;
        let recorded = record.await.expect("recorded");
        assert!(recorded.iter().all(|recorded| !recorded.more) && recorded.len() == 1);
        race.settle(if goes { 2 } else { 1 }).await;
    }
}

/// The sweep sees neither the member's return nor, when it commits, anyone who is due.
#[tokio::test]
async fn what_is_posted_while_a_member_comes_back_is_not_lost() {
    for back in ["START", "rejoin"] {
        let mut race = Race::start().await;
        if back == "START" {
            race.prefer(SmsPreference::Off).await;
            race.stop_at("BEFORE UPDATE OF opted_out_at ON users").await;
        } else {
            let (host, user) = (race.host.clone(), race.member.user.clone());
            families::deactivate_user(&race.app, &host, &user).await.expect("left");
            race.run("UPDATE users SET deactivated_at = NULL, texts_from = now()").await;
            race.stop_at("BEFORE UPDATE OF status ON thread_members").await;
        }
        race.run("UPDATE threads SET wake_at = now()").await;
        let returns = if back == "START" {
            tokio::spawn(race.prefer(SmsPreference::On))
        } else {
            tokio::spawn(race.rejoin())
        };
        race.until_waiting(1).await;
        race.post().await;
        assert_eq!(race.sweep().await, 0);
        race.go().await;
        returns.await.expect("back");
        assert_eq!(race.broken().await, [""; 0], "{back}");
    }
}

/// Any two at the same time, round after round. With `KINLINE_TEST_SEARCH=long`, 10,000 rounds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_two_at_once_keep_the_promises() {
    let long = std::env::var("KINLINE_TEST_SEARCH").is_ok_and(|form| form == "long");
    let mut race = Race::start().await;
    let mut random = fastrand::Rng::with_seed(7);
    for round in 0..if long { 10_000 } else { 200 } {
        let mut running = Vec::new();
        for _ in 0..2 {
            running.push(match random.u8(0..8) {
                0 | 1 => {
                    let post = race.post();
                    tokio::spawn(async move {
                        post.await;
                    })
                }
                2 | 3 => {
                    let sweep = race.sweep();
                    tokio::spawn(async move {
                        sweep.await;
                    })
                }
                4 | 5 => {
                    let outcome = match random.u8(0..4) {
                        0 => Outcome::Retry { reason: Reason::Throttled },
                        1 => Outcome::Unknown { reason: Reason::Timeout },
                        _ => sent(),
                    };
                    let claim = race.claim();
                    let (worker, phone) = (race.worker.clone(), phone(1));
                    tokio::spawn(async move {
                        let claim = claim.await;
                        let attempts: Vec<Attempt> = claim
                            .claimed
                            .into_iter()
                            .map(|claimed| Attempt {
                                sms: claimed.sms,
                                phone: PhoneNumber::parse(&phone, None).expect("a number"),
                                called: true,
                                outcome: outcome.clone(),
                            })
                            .collect();
                        delivery::record(&worker, claim.lease, &attempts).await.expect("recorded");
                    })
                }
                6 => {
                    let last: i64 = sqlx::query_scalar("SELECT last_seq FROM threads")
                        .fetch_one(&mut race.gate)
                        .await
                        .expect("a number");
                    tokio::spawn(race.read(random.i64(0..=last)))
                }
                _ => {
                    let on = random.bool();
                    tokio::spawn(race.prefer(if on {
                        SmsPreference::On
                    } else {
                        SmsPreference::Off
                    }))
                }
            });
        }
        for one in running {
            one.await.expect("no deadlock");
        }
        assert_eq!(race.broken().await, [""; 0], "round {round}");
        // Time passes for the sweep and for retries.
        race.run(
            "UPDATE threads SET wake_at = now() WHERE wake_at IS NOT NULL;
             UPDATE sms SET next_attempt_at = now(), wake_at = now() WHERE state = 'pending'",
        )
        .await;
    }
    race.prefer(SmsPreference::On).await;
    for _ in 0..3 {
        race.system.pass(Duration::from_mins(10)).await;
        race.system.sweep().await;
        race.system.deliver().await;
    }
    assert_eq!(race.broken().await, [""; 0]);
    assert_eq!(race.system.count("threads WHERE wake_at IS NOT NULL").await, 0);
    assert_eq!(race.system.count("sms WHERE state IN ('pending', 'sending')").await, 0);
}
