//! Eight sweepers at once, after the queue has lost everything.

use std::collections::BTreeSet;

use futures_util::future::join_all;

use super::{
    Progress, Row, queue,
    trial::{Trial, WAKE_AGAIN},
};

/// Of each thread, in which there is one post.
const RECIPIENTS: usize = 50;
const SWEEPERS: usize = 8;

pub(super) async fn run(due: usize, progress: Progress<'_>) -> Vec<Row> {
    let (mut trial, threads) = Trial::with_threads(due / RECIPIENTS, RECIPIENTS).await;
    for (i, thread) in threads.iter().enumerate() {
        trial.say_in(thread, &format!("sweep {i}")).await;
    }
    // The queue loses all jobs.
    let sqs = &trial.system.stack.sqs;
    sqs.client().purge_queue().queue_url(&sqs.queue_url).send().await.expect("purged");

    let mut rounds = Vec::new();
    for _ in 0..2 {
        trial.system.pass(WAKE_AGAIN).await;
        let swept = join_all((0..SWEEPERS).map(|_| trial.system.sweep())).await;
        let enqueued: usize = swept.iter().map(|swept| swept.enqueued).sum();
        // A send that is slow to be answered is repeated, which is no second call by a sweeper.
        let url = &trial.system.stack.sqs.queue_url;
        let records = queue::receive_all(&trial.system, url).await;
        let called: BTreeSet<&str> = records.iter().map(queue::body).collect();
        // Right afterwards, there is nothing left to do.
        let idle = join_all((0..SWEEPERS).map(|_| trial.system.sweep())).await;
        let idle: usize = idle.iter().map(|swept| swept.enqueued).sum();
        rounds.push((enqueued, called.len(), idle));
        progress(enqueued);
    }
    // The worker that has the records of both rounds never comes back: a third round.
    trial.system.pass(WAKE_AGAIN).await;
    let drained = trial.drain(async || trial.deliver(local::stack::POLLERS).await).await;
    let mut verdict = trial.verdict().await;
    for round in rounds {
        let held = round == (due, due, 0);
        verdict.must(held, || format!("enqueued, members, once more: {round:?}"));
    }
    let sms = trial.sms();
    verdict.must(sms == due, || format!("{sms} SMS for {due} members who are due"));
    vec![Row { fault: "8 sweepers at once".to_owned(), tried: due, verdict, drained }]
}
