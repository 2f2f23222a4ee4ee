//! The carrier takes a text and never says so.

use local::faults::{Rated, SmsFault};

use super::{Progress, Row, trial::Trial};

const FAMILY_SIZE: usize = 11;
/// Each batch waits out the worker's 5 s: many do so at the same time.
const SIDE_BY_SIDE: usize = 10;

pub(super) async fn run(texts: usize, progress: Progress<'_>) -> Vec<Row> {
    let mut trial = Trial::of(FAMILY_SIZE).await;
    let hang = Rated { fault: SmsFault::TimeoutAfterSend, rate: 1.0 };
    trial.system.stack.carrier.faults.set(Some(hang), None, Some(6));
    for i in 0..texts / (FAMILY_SIZE - 1) {
        trial.say(&format!("hang {i}")).await;
    }
    let drained = trial
        .drain(async || {
            trial.deliver(SIDE_BY_SIDE).await;
            progress(trial.system.stack.carrier.received(None).len());
        })
        .await;
    let mut verdict = trial.verdict().await;
    let unknown = verdict.unknown;
    verdict.must(unknown == texts, || format!("{unknown} of {texts} are unknown"));
    let fault = "carrier accepts, then hangs".to_owned();
    vec![Row { fault, tried: texts, verdict, drained }]
}
