//! The queue is down for ten minutes while members go on posting.

use std::time::Duration;

use futures_util::{StreamExt, stream};

use super::{
    Progress, Row,
    trial::{SWEEP_EVERY, Trial, post},
};

const MINUTES: usize = 10;
/// Threads that are posted to at the same time, of two members each.
const THREADS: usize = 10;
/// Longest time from the queue's return until nothing waits.
const DRAINED_WITHIN: Duration = Duration::from_mins(2);

/// Time is compressed: the posts of each minute are made one after the other, then the rest of that
/// minute passes at once, with the sweeper's run at its end. Posts, failing calls and draining take
/// their real time.
pub(super) async fn run(posts: usize, progress: Progress<'_>) -> Vec<Row> {
    let (mut trial, threads) = Trial::with_threads(THREADS, 1).await;
    trial.system.stack.sqs.stop().await;
    let (mut answers, mut taken) = (Vec::new(), 0);
    for minute in 0..MINUTES {
        let numbers = (minute * posts / MINUTES)..((minute + 1) * posts / MINUTES);
        let (u0, threads) = (&trial.u0, &threads);
        let said = stream::iter(numbers).map(|i| async move {
            post(u0, &threads[i % THREADS], &format!("meanwhile {i}")).await
        });
        answers.extend(said.buffer_unordered(THREADS).collect::<Vec<_>>().await);
        trial.system.pass(SWEEP_EVERY).await;
        taken += trial.system.sweep().await.enqueued;
        progress(answers.len());
    }
    let acknowledged: Vec<_> = answers.iter().filter(|answer| answer.status == 201).collect();
    for answer in &acknowledged {
        trial.acknowledge(&answer.json());
    }

    trial.system.stack.sqs.resume().await.expect("the port is free");
    let drained = trial.drain(async || trial.deliver(local::stack::POLLERS).await).await;
    let mut verdict = trial.verdict().await;
    verdict.must(taken == 0, || format!("a queue that is down took {taken} jobs"));
    let acknowledged = acknowledged.len();
    verdict.must(acknowledged == posts, || format!("{acknowledged} of {posts} posts got a 201"));
    let reached = verdict.reached;
    verdict.must(reached == posts, || format!("{reached} of {posts} posts reached"));
    // One in each thread, which covers all.
    let sms = trial.sms();
    verdict.must(sms == THREADS.min(posts), || format!("{sms} SMS in {THREADS} threads"));
    verdict.must(drained <= DRAINED_WITHIN, || format!("{drained:?} to drain"));
    vec![Row { fault: "queue down for 10 minutes".to_owned(), tried: posts, verdict, drained }]
}
