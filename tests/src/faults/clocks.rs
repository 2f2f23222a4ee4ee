//! Workers with clocks that are five minutes off get the same jobs as one with the right time.

use std::time::Duration;

use super::{
    Progress, Row,
    process::{TIMEOUT, worker},
    queue,
    trial::Trial,
};

/// Time left, as a worker with a slow clock sees it.
const SLOW: Duration = TIMEOUT.saturating_add(Duration::from_mins(5));
/// Time left, as a worker with a fast clock sees it: its deadline was 4.5 min ago, which has the same
/// effect as this. (The harness would end a call without any time before it is made.)
const FAST: Duration = Duration::from_secs(5);

/// The worker uses its clock in one place: for the time until its deadline. So a clock that is off has
/// the effect of a deadline that is off the other way. (The SDK signs with the clock's time too, which
/// this carrier does not check.)
pub(super) async fn run(times: usize, progress: Progress<'_>) -> Vec<Row> {
    let mut trial = Trial::of(11).await;
    let system = &trial.system;
    let (slow, fast, right) =
        (worker(system, None).await, worker(system, None).await, worker(system, None).await);
    let (mut failed, mut given_back, mut drained) = (0, 0, Duration::ZERO);
    for tried in 1..=times {
        trial.say(&format!("clock {tried}")).await;
        let records = queue::receive_all(&trial.system, &trial.system.stack.sqs.queue_url).await;
        let event = queue::event(&records);
        let (slow, fast, right) = tokio::join!(
            slow.invoke(&event, SLOW),
            fast.invoke(&event, FAST),
            right.invoke(&event, TIMEOUT),
        );
        let failures = |answer: Result<serde_json::Value, _>| {
            let answer = answer.ok()?;
            answer["batchItemFailures"].as_array().map(Vec::len)
        };
        failed += failures(slow).unwrap_or(1) + failures(right).unwrap_or(1);
        given_back += usize::from(failures(fast) == Some(records.len()));
        // Records that the fast one gave back come again.
        queue::give_back(&trial.system, &records).await;
        drained = drained.max(trial.drain(async || trial.deliver(1).await).await);
        progress(tried);
    }
    let twice: i64 = sqlx::query_scalar("SELECT count(*) FROM sms WHERE attempts > 1")
        .fetch_one(&trial.system.owner)
        .await
        .expect("a count");
    let mut verdict = trial.verdict().await;
    verdict.must(twice == 0, || format!("{twice} were claimed twice"));
    verdict.must(failed == 0, || format!("{failed} failures of workers that had time"));
    verdict.must(given_back == times, || format!("given back {given_back} of {times} times"));
    let (sms, all) = (trial.sms(), times * 10);
    verdict.must(sms == all, || format!("{sms} of {all} SMS"));
    let fault = "worker's clock 5 min off, both ways".to_owned();
    vec![Row { fault, tried: times, verdict, drained }]
}
