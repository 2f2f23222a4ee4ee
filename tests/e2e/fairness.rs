//! No family's SMS keep those of another waiting, and a family's pace is kept without losing any.

use std::time::{Duration, Instant};

use local::{
    faults::{Rated, SmsFault},
    secrets::TokenClaims,
};
use serde_json::json;
use shared::delivery::Pacing;
use tests::{Client, System, checks, system::FAMILY};

const MINUTE: Duration = Duration::from_mins(1);

/// A member of a pair in a family of its own, and their thread.
async fn pair(system: &System, family: &str) -> (Client, String) {
    let members = system.family_named(family, 2).await;
    let author = system.caller(&TokenClaims::member(family, "u0"));
    let thread = author.thread(&members).await;
    (author, thread)
}

/// The number of SMS with `text` on any handset.
fn sms_with(system: &System, text: &str) -> usize {
    system.sms().iter().filter(|sms| sms.body.contains(text)).count()
}

async fn count(system: &System, statement: &'static str) -> i64 {
    sqlx::query_scalar(statement).fetch_one(&system.owner).await.expect("a count")
}

#[tokio::test]
async fn a_flood_to_a_carrier_that_throttles_keeps_no_other_familys_text_waiting() {
    let system = System::start().await;
    let everyone = system.family(251).await;
    let u0 = system.member("u0");
    let flooded = u0.thread(&everyone).await;
    let throttled = pair(&system, "throttled").await;
    let single = pair(&system, "single").await;

    let faults = &system.stack.carrier.faults;
    faults.set(Some(Rated { fault: SmsFault::Throttle, rate: 1.0 }), None, Some(1));
    for i in 1..=100 {
        u0.say(&flooded, &format!("flood {i}")).await;
        system.deliver().await;
    }
    throttled.0.say(&throttled.1, "throttled").await;
    system.deliver().await;
    faults.set(None, None, Some(1));

    // An SMS for each recipient waits for its next attempt, not one for each post, and none in the queue.
    assert_eq!(count(&system, "SELECT count(*) FROM sms WHERE state = 'pending'").await, 251);
    single.0.say(&single.1, "at once").await;
    assert_eq!(system.queued().await, 1);
    assert_eq!(system.stack.poller().poll_once().await.expect("a queue"), 1);
    assert_eq!((sms_with(&system, "at once"), system.sms().len()), (1, 1));

    // The sweeper calls first for the family with one: the other has its share of a hundred.
    system.pass(MINUTE).await;
    assert_eq!(system.sweep().await.enqueued, 251);
    for _ in 0..10 {
        system.stack.poller().poll_once().await.expect("a queue");
    }
    assert_eq!(sms_with(&system, "throttled"), 1);
    assert!(system.sms().len() <= 101, "{} SMS", system.sms().len());

    system.deliver().await;
    assert_eq!(sms_with(&system, "Name0 +99 in Family Chat: flood 100 "), 250);
    assert_eq!(system.sms().len(), 252);
    assert_eq!(checks::waiting(&system).await, 0);
    assert_eq!(checks::database(&system).await, [""; 0]);
}

/// A family of a dozen with an SMS a minute, five of them at once.
struct Paced {
    system: System,
    u0: Client,
    thread: String,
    began: Instant,
    passed: Duration,
}

impl Paced {
    async fn new(system: System) -> Self {
        let members = system.family(12).await;
        let u0 = system.member("u0");
        let thread = u0.thread(&members).await;
        Self { system, u0, thread, began: Instant::now(), passed: Duration::ZERO }
    }

    /// The most SMS that the pace allows by now.
    fn allowed(&self) -> usize {
        let minutes = (self.began.elapsed() + self.passed).as_secs() / MINUTE.as_secs();
        5 + usize::try_from(minutes).expect("few")
    }

    /// Lets a minute pass, with a run of the sweeper at its end. Returns the number of SMS.
    async fn minute(&mut self) -> usize {
        self.system.pass(MINUTE).await;
        self.passed += MINUTE;
        let before = self.system.sms().len();
        let enqueued = self.system.sweep().await.enqueued;
        let queued = self.system.queued().await;
        self.system.deliver().await;
        let now = self.system.sms().len();
        // What is called for has a slot.
        assert!(enqueued <= self.allowed() - before, "{enqueued} enqueued, {before} SMS before");
        assert!((queued, now) <= (enqueued, before + enqueued));
        assert!(now <= self.allowed(), "{now} SMS after {:?}", self.passed);
        assert_eq!(checks::database(&self.system).await, [""; 0]);
        now
    }

    /// How many SMS each recipient got.
    fn each(&self) -> Vec<usize> {
        (1..12).map(|i| self.system.sms_of(i).len()).collect()
    }
}

#[tokio::test]
async fn what_exceeds_the_pace_waits_its_turn_and_goes_out_in_time() {
    let mut system = System::start().await;
    system.stack.worker.pacing = Pacing { per_minute: 1 };
    let mut family = Paced::new(system).await;

    family.u0.say(&family.thread, "first").await;
    assert_eq!(family.system.queued().await, 11);
    family.system.deliver().await;
    let at_once = family.system.sms().len();
    assert!((5..=family.allowed()).contains(&at_once), "{at_once} SMS at once");
    // What the claim refused is not covered, and nobody calls for it before its time.
    let covers =
        count(&family.system, "SELECT count(*) FROM sms_covers WHERE sms_id IS NOT NULL").await;
    assert_eq!((covers, family.system.count("sms").await), (5, 5));
    assert_eq!(checks::waiting(&family.system).await, 6);
    let answer = family.u0.say(&family.thread, "second").await;
    assert_eq!(answer.at("/notifications/queued"), 11, "all will be told");
    assert_eq!(family.system.queued().await, 0);
    assert_eq!(family.system.sweep().await.enqueued, 0);
    assert_eq!(checks::database(&family.system).await, [""; 0]);

    // First those who know nothing yet, with one SMS about both.
    let first_five = family.each();
    let mut sms = at_once;
    while sms < 11 {
        sms = family.minute().await;
        assert!(family.passed < 8 * MINUTE, "{sms} SMS after {:?}", family.passed);
    }
    assert_eq!(family.each(), [1; 11]);
    assert_eq!(sms_with(&family.system, "Name0 +1 in Family Chat: second "), 6);
    // Then the others, with one about the second.
    while sms < 16 {
        sms = family.minute().await;
        assert!(family.passed < 14 * MINUTE, "{sms} SMS after {:?}", family.passed);
    }
    let both: Vec<usize> = first_five.iter().map(|first| 1 + first).collect();
    assert_eq!(family.each(), both);
    assert_eq!(sms_with(&family.system, "Name0: second "), 5);
    assert_eq!(checks::waiting(&family.system).await, 0);
    assert_eq!(family.minute().await, 16, "and nothing more");
}

#[tokio::test]
async fn a_family_has_a_pace_of_its_own_and_a_faster_one_counts_at_once() {
    let family = Paced::new(System::start().await).await;
    let host = family.system.host();
    let paced = async |per_minute: u32| {
        let body = json!({ "name": "Family", "smsPerMinute": per_minute });
        let put = host.put(&format!("/families/{FAMILY}"), &body).await;
        assert_eq!((put.status, put.at("/family/smsPerMinute")), (200, json!(per_minute)));
    };
    paced(1).await;
    family.u0.say(&family.thread, "slowly").await;
    family.system.deliver().await;
    let at_once = family.system.sms().len();
    assert!((5..=family.allowed()).contains(&at_once), "{at_once} SMS at once");
    assert_eq!(family.system.sweep().await.enqueued, 0);

    // Without a limit, the next run calls for all who wait.
    paced(0).await;
    assert_eq!(family.system.sweep().await.enqueued, 11 - at_once);
    family.system.deliver().await;
    assert_eq!(family.each(), [1; 11]);
    assert_eq!(checks::database(&family.system).await, [""; 0]);
}
