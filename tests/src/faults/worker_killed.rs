//! SIGKILL of the worker before and after each of its commits and sends.

use std::time::Duration;

use super::{
    Progress, Row,
    process::{TIMEOUT, was_killed, worker},
    queue,
    trial::Trial,
};

/// The failpoint, and whether it leaves an SMS in the state `unknown`.
const POINTS: [(&str, bool); 6] = [
    ("claim.before", false),
    ("claim.after", true),
    ("send.before", true),
    ("send.after", true),
    ("record.before", true),
    ("record.after", false),
];

pub(super) async fn run(times: usize, progress: Progress<'_>) -> Vec<Row> {
    let mut rows = Vec::new();
    for (done, (point, leaves_unknown)) in POINTS.into_iter().enumerate() {
        let killed = |tried| progress(done * times + tried);
        rows.push(kill_at(point, leaves_unknown, times, &killed).await);
    }
    rows
}

async fn kill_at(point: &str, leaves_unknown: bool, times: usize, progress: Progress<'_>) -> Row {
    let mut trial = Trial::of(2).await;
    let healthy = worker(&trial.system, None).await;
    let failpoint = format!("{point}=kill");
    let (mut killed, mut drained) = (0, Duration::ZERO);
    for tried in 1..=times {
        trial.say(&format!("kill {tried}")).await;
        let records = queue::receive(&trial.system).await;
        let doomed = worker(&trial.system, Some(&failpoint)).await;
        let called = doomed.invoke(&queue::event(&records), TIMEOUT).await;
        killed += usize::from(was_killed(&called));
        queue::give_back(&trial.system, &records).await;
        let work = async |event| healthy.invoke(&event, TIMEOUT).await.ok();
        let took = trial.drain(async || queue::work(&trial.system, work).await).await;
        drained = drained.max(took);
        progress(tried);
    }
    let mut verdict = trial.verdict().await;
    verdict.must(killed == times, || format!("killed {killed} of {times} times"));
    let sms = trial.system.stack.carrier.received(None).len();
    let expected = if ["claim.after", "send.before"].contains(&point) { 0 } else { times };
    verdict.must(sms == expected, || format!("{sms} SMS, not {expected}"));
    let (unknown, most) = (verdict.unknown, if leaves_unknown { killed } else { 0 });
    verdict.must(unknown <= most, || format!("{unknown} unknown after {killed} kills"));
    Row { fault: format!("worker killed at {point}"), tried: times, verdict, drained }
}
