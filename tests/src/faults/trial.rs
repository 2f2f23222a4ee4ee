//! One system that meets a fault, what its clients were told, and its recovery.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use shared::delivery::Pacing;

use super::{
    checker::{self, Acknowledged, Verdict},
    evidence,
};
use crate::{Answer, Client, System, checks, client::send};

/// Interval of the deployed sweeper.
pub(super) const SWEEP_EVERY: Duration = Duration::from_mins(1);
/// After this, every SMS has expired, 72 hours after its newest message: one that still waits would wait
/// for ever.
const EXPIRED: Duration = Duration::from_hours(74);

/// Time until a wake-up call that no worker took is repeated, and a second.
pub(super) const WAKE_AGAIN: Duration = Duration::from_secs(301);

/// A system with one family in one thread.
pub(super) struct Trial {
    pub(super) system: System,
    /// The author.
    pub(super) u0: Client,
    /// The thread's id.
    pub(super) thread: String,
    acknowledged: Vec<Acknowledged>,
}

impl Trial {
    /// A new system with a family of `size`.
    pub(super) async fn of(size: usize) -> Self {
        Self::on(System::start().await, size).await
    }

    /// A family of `size` on an empty system, without a pace of its SMS.
    pub(super) async fn on(mut system: System, size: usize) -> Self {
        system.stack.worker.pacing = Pacing { per_minute: 0 };
        let members = system.family(size).await;
        let u0 = system.member("u0");
        let thread = u0.thread(&members).await;
        Self { system, u0, thread, acknowledged: Vec::new() }
    }

    /// A new system with `threads` threads, each of `u0` and `recipients` others. No two have the same
    /// members, but most members are in several.
    pub(super) async fn with_threads(threads: usize, recipients: usize) -> (Self, Vec<String>) {
        let trial = Self::of(threads + recipients).await;
        let mut ids = Vec::with_capacity(threads);
        for first in 1..=threads {
            let members: Vec<String> =
                (first..first + recipients).map(|i| format!("u{i}")).collect();
            ids.push(trial.u0.thread(&members).await);
        }
        (trial, ids)
    }

    /// Posts `text`, with the text as idempotency key; returns any answer.
    pub(super) async fn post(&self, text: &str) -> Answer {
        post(&self.u0, &self.thread, text).await
    }

    /// Posts `text`, which must be acknowledged.
    pub(super) async fn say(&mut self, text: &str) {
        let thread = self.thread.clone();
        self.say_in(&thread, text).await;
    }

    /// Posts `text` to a thread; see [`Self::say`].
    pub(super) async fn say_in(&mut self, thread: &str, text: &str) {
        let answer = post(&self.u0, thread, text).await;
        assert_eq!(answer.status, 201, "{}", answer.as_text());
        self.acknowledge(&answer.json());
    }

    /// Records a `201` that a client got.
    pub(super) fn acknowledge(&mut self, answer: &Value) {
        let message_id = answer["message"]["id"].as_str().expect("an id").to_owned();
        let queued = answer["notifications"]["queued"].as_u64().expect("a number");
        let queued = usize::try_from(queued).expect("a small number");
        self.acknowledged.push(Acknowledged { message_id, queued });
    }

    /// Lets `workers` handle the queue side by side, until it is empty.
    pub(super) async fn deliver(&self, workers: usize) {
        let poller = self.system.stack.poller();
        loop {
            let batches = join_all((0..workers).map(|_| poller.poll_once())).await;
            let handled: usize = batches.into_iter().map(|size| size.expect("a queue")).sum();
            if handled == 0 {
                break;
            }
        }
    }

    /// Lets minutes pass, with a run of the sweeper and `deliver` after each, until nothing waits. Returns
    /// the time that would take, with the sweeper's first run as late as possible.
    pub(super) async fn drain(&self, deliver: impl AsyncFn()) -> Duration {
        let began = Instant::now();
        let mut passed = Duration::ZERO;
        deliver().await;
        while self.waiting().await > 0 && passed < EXPIRED {
            self.system.pass(SWEEP_EVERY).await;
            passed += SWEEP_EVERY;
            self.system.sweep().await;
            deliver().await;
        }
        began.elapsed() + passed
    }

    /// The number of open SMS, and of messages and recipients that wait for one.
    pub(super) async fn waiting(&self) -> i64 {
        checks::waiting(&self.system).await
    }

    /// The number of SMS that the carrier has accepted.
    pub(super) fn sms(&self) -> usize {
        self.system.stack.carrier.received(None).len()
    }

    /// The checker's verdict, once nothing waits, on the evidence and the whole database.
    pub(super) async fn verdict(&self) -> Verdict {
        let evidence = evidence::gather(&self.system, self.acknowledged.clone()).await;
        let mut verdict = checker::judge(&evidence);
        for broken in checks::database(&self.system).await {
            verdict.must(false, || broken);
        }
        // Each thread is looked at once more, and then no more.
        self.system.pass(WAKE_AGAIN).await;
        let swept = self.system.sweep().await;
        verdict.must(swept.enqueued == 0, || format!("{} jobs after the end", swept.enqueued));
        let awake = "SELECT count(*) FROM threads WHERE wake_at IS NOT NULL";
        let awake: i64 =
            sqlx::query_scalar(awake).fetch_one(&self.system.owner).await.expect("a count");
        verdict.must(awake == 0, || format!("{awake} threads are looked at though nothing waits"));
        verdict
    }
}

/// Posts `text`, with the text as idempotency key; returns any answer.
pub(super) async fn post(client: &Client, thread: &str, text: &str) -> Answer {
    let request = client.request(Method::POST, &format!("/threads/{thread}/messages"));
    send(request.header("idempotency-key", key(text)).json(&json!({ "body": text }))).await
}

/// The idempotency key of a text: the text without white space.
pub(super) fn key(text: &str) -> String {
    text.replace(' ', "-")
}
