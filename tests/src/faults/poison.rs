//! One record in ten is no job; and the way back from the dead-letter queue.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    time::{Duration, Instant},
};

use aws_lambda_events::sqs::SqsEvent;
use aws_sdk_sqs::types::Message;
use local::sqs::WORKER_TIMEOUT;
use serde_json::Value;
use shared::queue::Redriven;

use super::{Progress, Row, queue, trial::Trial};

/// Nine recipients: with the poison, each post is one whole batch.
const FAMILY_SIZE: usize = 10;
/// How often a record is handed out before it is a dead letter.
const RECEIVES: usize = 5;
/// Too little for the worker to begin: it gives all of a batch back.
const NO_TIME: Duration = Duration::from_secs(1);

pub(super) async fn run(batches: usize, progress: Progress<'_>) -> Vec<Row> {
    let mut trial = Trial::of(FAMILY_SIZE).await;
    let began = Instant::now();
    let mut received: BTreeMap<String, usize> = BTreeMap::new();
    for tried in 1..=batches {
        trial.say(&format!("batch {tried}")).await;
        queue::send(&trial.system, &poison(tried)).await;
        for (body, times) in handle(&trial, WORKER_TIMEOUT).await {
            *received.entry(body).or_default() += times;
        }
        progress(tried);
    }
    let took = began.elapsed();
    let drained = took + trial.drain(async || trial.deliver(1).await).await;
    let dead = dead_letters(&trial).await;
    let mut bodies: Vec<&str> = dead.iter().map(queue::body).collect();
    bodies.sort_unstable();
    let mut expected: Vec<String> = (1..=batches).map(poison).collect();
    expected.sort_unstable();
    let mut verdict = trial.verdict().await;
    verdict.must(bodies == expected, || format!("{} dead letters: {bodies:?}", bodies.len()));
    for body in &expected {
        let times = received.get(body).copied().unwrap_or_default();
        verdict.must(times == RECEIVES, || format!("{body} was handed out {times} times"));
    }
    let (texts, all) = (trial.system.stack.carrier.received(None).len(), batches * 9);
    verdict.must(texts == all, || format!("{texts} of {all} texts"));
    let fault = "1 poison in 10".to_owned();
    let poisoned = Row { fault, tried: batches, verdict, drained };
    vec![poisoned, redriven(batches).await]
}

/// Jobs end in the dead-letter queue since no worker had time for them. Whoever moves them back
/// dies half-way the first time, and so does it twice.
async fn redriven(batches: usize) -> Row {
    let mut trial = Trial::of(FAMILY_SIZE).await;
    for tried in 1..=batches {
        trial.say(&format!("dead {tried}")).await;
    }
    queue::send(&trial.system, &poison(0)).await;
    handle(&trial, NO_TIME).await;
    let early = trial.system.stack.carrier.received(None).len();

    let began = Instant::now();
    let dead = dead_letters(&trial).await;
    // By hand, and not deleted: as somebody who dies half-way.
    for message in &dead {
        queue::send(&trial.system, queue::body(message)).await;
    }
    handle(&trial, WORKER_TIMEOUT).await;
    let url = &trial.system.stack.sqs.dead_letter_url;
    queue::show_again(&trial.system, url, &dead).await;
    let redriven = trial.system.stack.queue().redrive(url).await.expect("moved");
    handle(&trial, WORKER_TIMEOUT).await;
    let took = began.elapsed();
    let jobs = batches * 9;
    let texts = trial.system.stack.carrier.received(None).len();
    let drained = took + trial.drain(async || trial.deliver(1).await).await;
    let again = dead_letters(&trial).await.len();
    let mut verdict = trial.verdict().await;
    verdict.must(early == 0, || format!("{early} texts without the time to send them"));
    let moved = dead.len();
    verdict.must(moved == jobs + 1, || format!("{moved} dead letters of {jobs} jobs, 1 poison"));
    // Moving them back is what sends them, not the sweeper.
    verdict.must(texts == jobs, || format!("{texts} texts for {jobs} jobs that were moved back"));
    let expected = Redriven { moved: jobs, left: 2, refused: false };
    verdict.must(redriven == expected, || format!("{redriven:?} of {jobs} jobs, 2 poisons"));
    verdict.must(again == 2, || format!("{again} dead letters of a poison moved back once"));
    Row { fault: "dead letters moved back twice".to_owned(), tried: jobs, verdict, drained }
}

fn poison(number: usize) -> String {
    format!("poison {number:03}")
}

/// Has a worker that sees `time` left handle the queue until it hands out nothing more. Returns
/// how often each record was handed out, by its body.
async fn handle(trial: &Trial, time: Duration) -> BTreeMap<String, usize> {
    let received: RefCell<BTreeMap<String, usize>> = RefCell::default();
    let work = async |event: Value| {
        let event: SqsEvent = serde_json::from_value(event).expect("an event");
        for record in &event.records {
            let body = record.body.clone().unwrap_or_default();
            *received.borrow_mut().entry(body).or_default() += 1;
        }
        let response = trial.system.stack.worker.handle_batch(event, Instant::now() + time).await;
        Some(serde_json::to_value(response).expect("JSON"))
    };
    queue::work(&trial.system, work).await;
    received.into_inner()
}

/// What is in the dead-letter queue, hidden from others from now on.
async fn dead_letters(trial: &Trial) -> Vec<Message> {
    queue::receive_all(&trial.system, &trial.system.stack.sqs.dead_letter_url).await
}
