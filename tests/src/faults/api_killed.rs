//! SIGKILL of the API around the commit of a post and its wake-ups.

use super::{
    Progress, Row,
    process::{TIMEOUT, messages, post_event, was_killed},
    trial::Trial,
};

/// The failpoint, whether the post is committed by then, and the name in the table.
const POINTS: [(&str, bool, &str); 3] = [
    ("post.before", false, "API killed before the commit"),
    ("post.after", true, "API killed between commit and enqueue"),
    ("enqueue.after", true, "API killed after the enqueue"),
];

pub(super) async fn run(times: usize, progress: Progress<'_>) -> Vec<Row> {
    let mut rows = Vec::new();
    for (done, (point, committed, fault)) in POINTS.into_iter().enumerate() {
        let killed = |tried| progress(done * times + tried);
        rows.push(kill_at(point, committed, fault, times, &killed).await);
    }
    rows
}

async fn kill_at(
    point: &str,
    committed: bool,
    fault: &str,
    times: usize,
    progress: Progress<'_>,
) -> Row {
    let failpoint = format!("{point}=kill");
    let mut trial = Trial::of(3).await;
    let mut killed = 0;
    for tried in 1..=times {
        let url = trial.system.database_url();
        let doomed = messages(&trial.system, url, Some(&failpoint)).await;
        let event = post_event(&trial.system, &trial.thread, &format!("kill {tried}"));
        killed += usize::from(was_killed(&doomed.invoke(&event, TIMEOUT).await));
        progress(tried);
    }
    // No client got an answer: a committed post arrives without a retry.
    let mut drained = trial.drain(async || trial.deliver(1).await).await;
    let unasked = trial.verdict().await;
    let early = unasked.reached;
    let arrived = if committed { 2 * times } else { 0 };

    let mut replayed = 0;
    for tried in 1..=times {
        let answer = trial.post(&format!("kill {tried}")).await;
        replayed += usize::from(answer.header("idempotency-replayed") == "true");
        if answer.status == 201 {
            trial.acknowledge(&answer.json());
        }
    }
    drained = drained.max(trial.drain(async || trial.deliver(1).await).await);
    let mut verdict = trial.verdict().await;
    verdict.must(unasked.broken.is_empty(), || format!("before the retries: {unasked:?}"));
    verdict.must(killed == times, || format!("killed {killed} of {times} times"));
    verdict.must(early == arrived, || format!("{early} reached before the retries, not {arrived}"));
    let known = if committed { times } else { 0 };
    verdict.must(replayed == known, || format!("{replayed} retries were replays, not {known}"));
    let reached = verdict.reached;
    verdict.must(reached == 2 * times, || format!("{reached} reached of 2 by {times} messages"));
    // One to each, which covers all.
    let sms = trial.sms();
    verdict.must(sms == 2, || format!("{sms} SMS to 2"));
    Row { fault: fault.to_owned(), tried: times, verdict, drained }
}
