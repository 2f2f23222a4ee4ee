//! The carrier throttles three in ten SMS.

use local::faults::{Rated, SmsFault};

use super::{Progress, Row, trial::Trial};

const FAMILY_SIZE: usize = 11;

pub(super) async fn run(sms: usize, progress: Progress<'_>) -> Vec<Row> {
    let mut trial = Trial::of(FAMILY_SIZE).await;
    let throttle = Rated { fault: SmsFault::Throttle, rate: 0.3 };
    trial.system.stack.carrier.faults.set(Some(throttle), None, Some(7));
    for i in 0..sms / (FAMILY_SIZE - 1) {
        trial.say(&format!("throttle {i}")).await;
    }
    let drained = trial
        .drain(async || {
            trial.deliver(local::stack::POLLERS).await;
            progress(trial.system.stack.carrier.received(None).len());
        })
        .await;
    let again: i64 = sqlx::query_scalar("SELECT count(*) FROM sms WHERE attempts > 1")
        .fetch_one(&trial.system.owner)
        .await
        .expect("a count");
    let mut verdict = trial.verdict().await;
    verdict.must(again > 0, || "the carrier throttled nothing".to_owned());
    let sent = trial.system.stack.carrier.received(None).len();
    verdict.must(sent == sms, || format!("{sent} of {sms} SMS were sent"));
    vec![Row { fault: "carrier throttles 30 %".to_owned(), tried: sms, verdict, drained }]
}
