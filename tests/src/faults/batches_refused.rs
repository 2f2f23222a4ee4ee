//! The queue accepts batches but refuses three in ten of their entries.

use local::faults::{QueueFault, Rated};

use super::{Progress, Row, trial::Trial};

/// Ten recipients, so that each post is one full batch.
const FAMILY_SIZE: usize = 11;

pub(super) async fn run(batches: usize, progress: Progress<'_>) -> Vec<Row> {
    let mut trial = Trial::of(FAMILY_SIZE).await;
    let refuse = Rated { fault: QueueFault::Partial, rate: 0.3 };
    trial.system.stack.carrier.faults.set(None, Some(refuse), Some(3));
    let mut refused = 0;
    for tried in 1..=batches {
        trial.say(&format!("batch {tried}")).await;
        trial.deliver(1).await;
        // The next post calls for them again.
        refused += trial.waiting().await;
        progress(tried);
    }
    // The sweeper's own batches meet the same fault.
    let drained = trial.drain(async || trial.deliver(1).await).await;
    let mut verdict = trial.verdict().await;
    verdict.must(refused > 0, || "the queue refused nothing".to_owned());
    let (reached, all) = (verdict.reached, batches * 10);
    verdict.must(reached == all, || format!("{reached} of {all} reached"));
    // Some cover several posts.
    let sms = trial.sms();
    verdict.must((batches..all).contains(&sms), || format!("{sms} SMS about {batches} posts"));
    let fault = "3 of 10 batch entries fail".to_owned();
    vec![Row { fault, tried: batches, verdict, drained }]
}
