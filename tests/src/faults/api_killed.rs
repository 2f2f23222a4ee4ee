//! SIGKILL of the API between the commit of a post and its wake-up calls.

use super::{
    Progress, Row,
    process::{TIMEOUT, messages, post_event, was_killed},
    trial::Trial,
};

pub(super) async fn run(times: usize, progress: Progress<'_>) -> Vec<Row> {
    let mut trial = Trial::of(3).await;
    let mut killed = 0;
    for tried in 1..=times {
        let url = trial.system.database_url();
        let doomed = messages(&trial.system, url, Some("post.after=kill")).await;
        let event = post_event(&trial.system, &trial.thread, &format!("kill {tried}"));
        killed += usize::from(was_killed(&doomed.invoke(&event, TIMEOUT).await));
        progress(tried);
    }
    // Nobody was told anything, and all is committed: it arrives without the client's help.
    let mut drained = trial.drain(async || trial.deliver(1).await).await;
    let unasked = trial.verdict().await;

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
    verdict.must(replayed == times, || format!("{replayed} of {times} retries were replays"));
    let texts = trial.system.stack.carrier.received(None).len();
    verdict.must(texts == 2 * times, || format!("{texts} texts to 2 about {times} messages"));
    let fault = "API killed between commit and enqueue".to_owned();
    vec![Row { fault, tried: times, verdict, drained }]
}
