//! One system that meets a fault, what its clients were told, and its recovery.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use super::{
    checker::{self, Acknowledged, Verdict},
    evidence,
};
use crate::{Answer, Client, System, client::send};

/// Interval of the deployed sweeper.
pub(super) const SWEEP_EVERY: Duration = Duration::from_mins(1);
/// After this, every notification has expired: one that still waits would wait for ever.
const DAY: Duration = Duration::from_hours(26);

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

    /// A family of `size` on an empty system.
    pub(super) async fn on(system: System, size: usize) -> Self {
        let members = system.family(size).await;
        let u0 = system.member("u0");
        let thread = u0.thread(&members).await;
        Self { system, u0, thread, acknowledged: Vec::new() }
    }

    /// Posts `text`, with the text as idempotency key; returns any answer.
    pub(super) async fn post(&self, text: &str) -> Answer {
        post(&self.u0, &self.thread, text).await
    }

    /// Posts `text`, which must be acknowledged.
    pub(super) async fn say(&mut self, text: &str) {
        let answer = self.post(text).await;
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

    /// Lets minutes pass, with a run of the sweeper and `deliver` after each, until no notification
    /// waits. Returns the time that would take, with the sweeper's first run as late as possible.
    pub(super) async fn drain(&self, deliver: impl AsyncFn()) -> Duration {
        let began = Instant::now();
        let mut passed = Duration::ZERO;
        deliver().await;
        while self.waiting().await > 0 && passed < DAY {
            self.system.pass(SWEEP_EVERY).await;
            passed += SWEEP_EVERY;
            self.system.sweep().await;
            deliver().await;
        }
        began.elapsed() + passed
    }

    /// The number of notifications in no final state.
    pub(super) async fn waiting(&self) -> i64 {
        sqlx::query_scalar(
            "SELECT count(*) FROM notifications WHERE state IN ('pending', 'sending', 'held')",
        )
        .fetch_one(&self.system.owner)
        .await
        .expect("a count")
    }

    /// The checker's verdict, once no notification waits.
    pub(super) async fn verdict(&self) -> Verdict {
        checker::judge(&evidence::gather(&self.system, self.acknowledged.clone()).await)
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
