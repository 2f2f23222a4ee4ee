//! SIGKILL of the worker before and after each of its commits and sends.

use std::time::Duration;

use super::{
    Progress, Row,
    process::{TIMEOUT, was_killed, worker},
    queue,
    trial::Trial,
};

/// The failpoint, whether it leaves an SMS in the state `unknown`, and the number of SMS about the post before
/// and the one after the kill.
const POINTS: [(&str, bool, usize); 6] = [
    // One covers both.
    ("claim.before", false, 1),
    // The first is not sent.
    ("claim.after", true, 1),
    ("send.before", true, 1),
    ("send.after", true, 2),
    ("record.before", true, 2),
    ("record.after", false, 2),
];

pub(super) async fn run(times: usize, progress: Progress<'_>) -> Vec<Row> {
    let mut rows = Vec::new();
    for (done, (point, leaves_unknown, each)) in POINTS.into_iter().enumerate() {
        let killed = |tried| progress(done * times + tried);
        rows.push(kill_at(point, leaves_unknown, each, times, &killed).await);
    }
    rows
}

async fn kill_at(
    point: &str,
    leaves_unknown: bool,
    each: usize,
    times: usize,
    progress: Progress<'_>,
) -> Row {
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
        // Its SMS may be open, and then waits for the lease's end.
        trial.say(&format!("meanwhile {tried}")).await;
        queue::give_back(&trial.system, &records).await;
        let work = async |event| healthy.invoke(&event, TIMEOUT).await.ok();
        let took = trial.drain(async || queue::work(&trial.system, work).await).await;
        drained = drained.max(took);
        progress(tried);
    }
    let mut verdict = trial.verdict().await;
    verdict.must(killed == times, || format!("killed {killed} of {times} times"));
    let (sms, expected) = (trial.sms(), each * times);
    verdict.must(sms == expected, || format!("{sms} SMS, not {expected}"));
    let (unknown, left) = (verdict.unknown, if leaves_unknown { killed } else { 0 });
    verdict.must(unknown == left, || format!("{unknown} unknown after {killed} kills"));
    Row { fault: format!("worker killed at {point}"), tried: times, verdict, drained }
}
