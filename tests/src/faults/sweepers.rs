//! Eight sweepers at once, after the queue has lost everything.

use std::{collections::BTreeMap, time::Duration};

use futures_util::future::join_all;

use super::{Progress, Row, queue, trial::Trial};

const FAMILY_SIZE: usize = 51;
const SWEEPERS: usize = 8;
/// Time until a wake-up that no worker took is repeated, and a second.
const WAKE_AGAIN: Duration = Duration::from_secs(301);

pub(super) async fn run(rows: usize, progress: Progress<'_>) -> Vec<Row> {
    let mut trial = Trial::of(FAMILY_SIZE).await;
    for i in 0..rows / (FAMILY_SIZE - 1) {
        trial.say(&format!("sweep {i}")).await;
    }
    // The queue loses all jobs.
    let sqs = &trial.system.stack.sqs;
    sqs.client().purge_queue().queue_url(&sqs.queue_url).send().await.expect("purged");

    let mut rounds = Vec::new();
    for _ in 0..2 {
        trial.system.pass(WAKE_AGAIN).await;
        let swept = join_all((0..SWEEPERS).map(|_| trial.system.sweep())).await;
        let enqueued: usize = swept.iter().map(|swept| swept.enqueued).sum();
        let mut calls: BTreeMap<String, usize> = BTreeMap::new();
        for message in queue::receive_all(&trial.system, &trial.system.stack.sqs.queue_url).await {
            *calls.entry(queue::body(&message).to_owned()).or_default() += 1;
        }
        let most = calls.values().copied().max().unwrap_or_default();
        // Right afterwards, there is nothing left to do.
        let idle = join_all((0..SWEEPERS).map(|_| trial.system.sweep())).await;
        let idle: usize = idle.iter().map(|swept| swept.enqueued).sum();
        rounds.push((enqueued, calls.len(), most, idle));
        progress(enqueued);
    }
    // The worker that has the records of both rounds never comes back: a third round.
    trial.system.pass(WAKE_AGAIN).await;
    let drained = trial.drain(async || trial.deliver(local::stack::POLLERS).await).await;
    let mut verdict = trial.verdict().await;
    for round in rounds {
        let held = round == (rows, rows, 1, 0);
        verdict.must(held, || format!("enqueued, rows, most calls a row, once more: {round:?}"));
    }
    let sms = trial.system.stack.carrier.received(None).len();
    verdict.must(sms == rows, || format!("{sms} SMS for {rows} rows"));
    vec![Row { fault: "8 sweepers at once".to_owned(), tried: rows, verdict, drained }]
}
