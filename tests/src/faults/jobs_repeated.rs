//! Every job is received five times, in any order, by ten workers at once.

use std::{sync::Arc, time::Instant};

use aws_lambda_events::sqs::SqsEvent;
use local::sqs::WORKER_TIMEOUT;
use tokio::{sync::Mutex, task::JoinSet};

use super::{Progress, Row, queue, trial::Trial};

/// Of each thread, in which there is one post.
const RECIPIENTS: usize = 10;
const TIMES: usize = 5;
const WORKERS: usize = 10;
const SEED: u64 = 5;

pub(super) async fn run(jobs: usize, progress: Progress<'_>) -> Vec<Row> {
    let (mut trial, threads) = Trial::with_threads(jobs / RECIPIENTS, RECIPIENTS).await;
    for (i, thread) in threads.iter().enumerate() {
        trial.say_in(thread, &format!("again {i}")).await;
    }
    let once = queue::receive_all(&trial.system, &trial.system.stack.sqs.queue_url).await;
    let found = once.len();
    let mut deliveries: Vec<_> = (0..TIMES).flat_map(|_| once.iter().cloned()).collect();
    fastrand::Rng::with_seed(SEED).shuffle(&mut deliveries);
    let batches: Vec<SqsEvent> = deliveries
        .chunks(10)
        .map(|batch| serde_json::from_value(queue::event(batch)).expect("an event"))
        .collect();

    let began = Instant::now();
    let batches = Arc::new(Mutex::new(batches.into_iter()));
    let mut workers = JoinSet::new();
    for _ in 0..WORKERS {
        let (worker, batches) = (trial.system.stack.worker.clone(), Arc::clone(&batches));
        workers.spawn(async move {
            let mut failed = 0;
            loop {
                let Some(batch) = batches.lock().await.next() else { return failed };
                let response = worker.handle_batch(batch, Instant::now() + WORKER_TIMEOUT).await;
                failed += response.batch_item_failures.len();
            }
        });
    }
    let failed: usize = workers.join_all().await.into_iter().sum();
    queue::delete(&trial.system, &trial.system.stack.sqs.queue_url, &once).await;
    progress(jobs);
    let took = began.elapsed();
    let drained = took + trial.drain(async || trial.deliver(1).await).await;
    let mut verdict = trial.verdict().await;
    verdict.must(found == jobs, || format!("{found} of {jobs} jobs were in the queue"));
    verdict.must(failed == 0, || format!("{failed} records failed"));
    let sms = trial.sms();
    verdict.must(sms == jobs, || format!("{sms} SMS for {jobs} jobs"));
    vec![Row { fault: "every job 5 times, 10 workers".to_owned(), tried: jobs, verdict, drained }]
}
