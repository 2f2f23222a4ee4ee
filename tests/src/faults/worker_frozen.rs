//! SIGSTOP of the worker, SIGCONT long after its lease has expired.

use std::time::{Duration, Instant};

use super::{
    Progress, Row,
    process::{TIMEOUT, frozen, thaw, worker},
    queue,
    trial::{SWEEP_EVERY, Trial},
};

/// The failpoints, in turn: after the claim, and just before the SMS is sent.
const POINTS: [&str; 2] = ["claim.after=stop", "send.before=stop"];

pub(super) async fn run(times: usize, progress: Progress<'_>) -> Vec<Row> {
    let mut trial = Trial::of(2).await;
    let healthy = worker(&trial.system, None).await;
    let work = async |event| healthy.invoke(&event, TIMEOUT).await.ok();
    let (mut given_up, mut answered, mut drained) = (0, 0, Duration::ZERO);
    for (tried, point) in (1..=times).zip(POINTS.into_iter().cycle()) {
        trial.say(&format!("freeze {tried}")).await;
        let records = queue::receive(&trial.system).await;
        let sleeper = worker(&trial.system, Some(point)).await;
        let event = queue::event(&records);
        let began = Instant::now();
        let meanwhile = async {
            frozen(sleeper.pid()).await;
            // Its record comes back while it holds the lease.
            queue::give_back(&trial.system, &records).await;
            queue::work(&trial.system, work).await;
            trial.system.pass(SWEEP_EVERY).await;
            given_up += trial.system.sweep().await.leases_expired;
            // And again after the lease.
            queue::send(&trial.system, queue::body(&records[0])).await;
            queue::work(&trial.system, work).await;
            thaw(sleeper.pid()).await;
        };
        let (called, ()) = tokio::join!(sleeper.invoke(&event, TIMEOUT), meanwhile);
        answered += usize::from(called.is_ok());
        let took = began.elapsed() + SWEEP_EVERY;
        let rest = trial.drain(async || queue::work(&trial.system, work).await).await;
        drained = drained.max(took + rest);
        progress(tried);
    }
    let mut verdict = trial.verdict().await;
    verdict.must(given_up == times as u64, || format!("{given_up} of {times} leases ran out"));
    verdict.must(answered == times, || format!("{answered} of {times} went on afterwards"));
    let sms = trial.sms();
    verdict.must(sms == times, || format!("{sms} SMS about {times} posts"));
    // Late proof: the worker whose lease expired records that it sent.
    let unknown = verdict.unknown;
    verdict.must(unknown == 0, || format!("{unknown} stay unknown though their worker knows"));
    let fault = "worker frozen past its lease".to_owned();
    vec![Row { fault, tried: times, verdict, drained }]
}
