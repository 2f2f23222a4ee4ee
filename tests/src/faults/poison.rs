//! One record in ten is no job; dead letters are moved back.

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

/// Nine recipients: with the poison, each post is one full batch.
const FAMILY_SIZE: usize = 10;
/// Receives of a record before it is a dead letter.
const RECEIVES: usize = 5;
/// Too little time for the worker to begin: it gives the whole batch back.
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
    let (sms, all) = (trial.sms(), batches * 9);
    verdict.must(sms == all, || format!("{sms} of {all} SMS"));
    let fault = "1 poison in 10".to_owned();
    let poisoned = Row { fault, tried: batches, verdict, drained };
    vec![poisoned, redriven(batches).await]
}

/// Jobs become dead letters since no worker had time for them. The first redrive is killed half-way,
/// so some are moved back twice.
async fn redriven(batches: usize) -> Row {
    let mut trial = Trial::of(FAMILY_SIZE).await;
    for tried in 1..=batches {
        trial.say(&format!("dead {tried}")).await;
    }
    queue::send(&trial.system, &poison(0)).await;
    handle(&trial, NO_TIME).await;
    let early = trial.sms();

    let began = Instant::now();
    let dead = dead_letters(&trial).await;
    // Sent and not deleted, as by a redrive that is killed half-way.
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
    let sms = trial.sms();
    let drained = took + trial.drain(async || trial.deliver(1).await).await;
    let again = dead_letters(&trial).await.len();
    let mut verdict = trial.verdict().await;
    verdict.must(early == 0, || format!("{early} SMS without the time to send them"));
    let moved = dead.len();
    verdict.must(moved == jobs + 1, || format!("{moved} dead letters of {jobs} jobs, 1 poison"));
    // The redrive sends them, not the sweeper: one to each, which covers all.
    let reached = verdict.reached;
    verdict.must(reached == jobs, || format!("{reached} reached by {jobs} jobs moved back"));
    verdict.must(sms == 9, || format!("{sms} SMS to 9 before the sweeper's run"));
    let expected = Redriven { moved: jobs, left: 2, refused: false };
    verdict.must(redriven == expected, || format!("{redriven:?} of {jobs} jobs, 2 poisons"));
    verdict.must(again == 2, || format!("{again} dead letters of a poison moved back once"));
    Row { fault: "dead letters moved back twice".to_owned(), tried: jobs, verdict, drained }
}

fn poison(number: usize) -> String {
    format!("poison {number:03}")
}

/// Lets a worker with `time` left handle the queue until it is empty. Returns the number of receives
/// of each record, by its body.
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

/// Receives all records of the dead-letter queue.
async fn dead_letters(trial: &Trial) -> Vec<Message> {
    queue::receive_all(&trial.system, &trial.system.stack.sqs.dead_letter_url).await
}
