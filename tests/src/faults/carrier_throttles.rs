//! The carrier throttles three in ten SMS. Members post again while those wait.

use local::faults::{Rated, SmsFault};

use super::{Progress, Row, trial::Trial};

/// Of each thread, in which there are two posts.
const RECIPIENTS: usize = 10;

pub(super) async fn run(sms: usize, progress: Progress<'_>) -> Vec<Row> {
    let (mut trial, threads) = Trial::with_threads(sms / RECIPIENTS, RECIPIENTS).await;
    let throttle = Rated { fault: SmsFault::Throttle, rate: 0.3 };
    trial.system.stack.carrier.faults.set(Some(throttle), None, Some(7));
    for round in ["throttle", "meanwhile"] {
        for (i, thread) in threads.iter().enumerate() {
            trial.say_in(thread, &format!("{round} {i}")).await;
        }
        trial.deliver(local::stack::POLLERS).await;
        progress(trial.sms());
    }
    let drained = trial
        .drain(async || {
            trial.deliver(local::stack::POLLERS).await;
            progress(trial.sms());
        })
        .await;
    let count = async |statement: &'static str| -> i64 {
        sqlx::query_scalar(statement).fetch_one(&trial.system.owner).await.expect("a count")
    };
    let again = count("SELECT count(*) FROM sms WHERE attempts > 1").await;
    let extended = count("SELECT count(*) - count(DISTINCT sms_id) FROM sms_covers").await;
    let mut verdict = trial.verdict().await;
    verdict.must(again > 0, || "the carrier throttled nothing".to_owned());
    // An SMS that waited for its next attempt stands for the second post as well.
    verdict.must(extended > 0, || "no SMS covers what came while it waited".to_owned());
    let reached = verdict.reached;
    verdict.must(reached == 2 * sms, || format!("{reached} of {} reached", 2 * sms));
    let sent = i64::try_from(2 * sms - trial.sms()).unwrap_or(i64::MAX);
    verdict.must(sent == extended, || format!("{sent} fewer SMS, but {extended} extended"));
    vec![Row { fault: "carrier throttles 30 %".to_owned(), tried: sms, verdict, drained }]
}
