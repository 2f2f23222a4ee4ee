//! The carrier accepts an SMS and never answers.

use local::faults::{Rated, SmsFault};

use super::{Progress, Row, trial::Trial};

/// Of each thread, in which there is one post.
const RECIPIENTS: usize = 10;
/// Workers at once, since each batch waits for the worker's 5 s.
const SIDE_BY_SIDE: usize = 10;

pub(super) async fn run(sms: usize, progress: Progress<'_>) -> Vec<Row> {
    let (mut trial, threads) = Trial::with_threads(sms / RECIPIENTS, RECIPIENTS).await;
    let hang = Rated { fault: SmsFault::TimeoutAfterSend, rate: 1.0 };
    trial.system.stack.carrier.faults.set(Some(hang), None, Some(6));
    for (i, thread) in threads.iter().enumerate() {
        trial.say_in(thread, &format!("hang {i}")).await;
    }
    let drained = trial
        .drain(async || {
            trial.deliver(SIDE_BY_SIDE).await;
            progress(trial.sms());
        })
        .await;
    let mut verdict = trial.verdict().await;
    let unknown = verdict.unknown;
    verdict.must(unknown == sms, || format!("{unknown} of {sms} are unknown"));
    let fault = "carrier accepts, then hangs".to_owned();
    vec![Row { fault, tried: sms, verdict, drained }]
}
