//! Delivery of a batch: claim together, pay under a cap, send concurrently, record together.

use std::{
    collections::{HashMap, HashSet},
    panic::AssertUnwindSafe,
    time::{Duration, Instant},
};

use futures_util::{FutureExt, StreamExt, stream};
use shared::{
    delivery::{
        self, Attempt, Claim, Claimed, DeliveryState, Lease, Outcome, Reason, Recorded, Settled,
        Wanted,
    },
    failpoint,
    queue::{Job, Recipient, SmsJob},
    spending::{self, Cost, Verdict},
};
use tokio::time::timeout;
use tracing::Instrument;

use super::compose::Draft;
use crate::{LEAST_TIME, Worker, record::Attributes};

/// Maximum concurrent SMS of a batch. A Lambda batch has ten.
const CONCURRENCY: usize = 32;
/// Minimum time to begin a call, which may take 5 s and must be recorded.
const SEND_TIME: Duration = Duration::from_secs(6);
/// The outcome if there is too little time for a call.
const NO_TIME: Outcome = Outcome::Retry { reason: Reason::NoTime };
/// Time limit for paying for a batch.
const PAY_TIME: Duration = Duration::from_secs(2);
/// Back-off for recording outcomes: a send that is not recorded becomes `unknown`.
const RECORD_BACK_OFF: [Duration; 3] =
    [Duration::from_millis(100), Duration::from_millis(400), Duration::from_millis(1500)];

/// Sends what is due of `jobs` and returns those whose records failed.
///
/// When an outcome is recorded and a post came meanwhile, the same run claims again: a text follows the one
/// before it at once.
pub(crate) async fn deliver(
    worker: &Worker,
    jobs: &HashMap<Job, Attributes>,
    deadline: Instant,
) -> HashSet<Job> {
    let mut wanted = Wanted::default();
    for job in jobs.keys() {
        wanted.add(job);
    }
    let mut unfinished = HashSet::new();
    let mut first = true;
    while !wanted.is_empty() && (first || time_left(deadline) >= LEAST_TIME) {
        failpoint::reach("claim.before");
        let claim = delivery::claim(&worker.db, &wanted, worker.stop_notices, worker.pacing).await;
        let claim = match claim {
            Ok(claim) => claim,
            Err(error) => {
                let error = error.with_causes();
                tracing::error!(jobs = jobs.len(), error, "can't claim SMS");
                // A later round's members are found by the sweeper.
                return if first { jobs.keys().cloned().collect() } else { unfinished };
            }
        };
        failpoint::reach("claim.after");
        let (more, unrecorded) = send_claimed(worker, claim, jobs, deadline).await;
        unfinished.extend(unrecorded);
        wanted = more.into_iter().collect();
        first = false;
    }
    unfinished
}

/// Sends claimed SMS and records their outcomes. Returns the members who may be due again, and the jobs whose
/// outcomes were not recorded.
async fn send_claimed(
    worker: &Worker,
    claim: Claim,
    jobs: &HashMap<Job, Attributes>,
    deadline: Instant,
) -> (Vec<Recipient>, Vec<Job>) {
    let Claim { lease, claimed, settled } = claim;
    // The record's attributes: of the job about the SMS or about its member.
    let attributes = |sms: Option<&SmsJob>, recipient: &Recipient| {
        let of_sms = sms.and_then(|sms| jobs.get(&Job::Sms(sms.clone())));
        of_sms.or_else(|| jobs.get(&Job::Reach(recipient.clone()))).cloned().unwrap_or_default()
    };
    for settled in &settled {
        let family_id = settled.recipient.family_id.clone();
        let sms = settled.sms_id.map(|sms_id| SmsJob { family_id, sms_id });
        count_settled(settled, &attributes(sms.as_ref(), &settled.recipient));
    }
    let draft = |claimed: Claimed| {
        let attributes = attributes(Some(&claimed.sms), &claimed.recipient);
        Draft::new(worker, claimed, attributes)
    };
    let mut drafts: Vec<Draft> = claimed.into_iter().map(draft).collect();
    pay(worker, lease, &mut drafts, deadline).await;
    let mut sources = Vec::with_capacity(drafts.len());
    for Draft { claimed, .. } in &drafts {
        sources.push(Job::Sms(claimed.sms.clone()));
        sources.push(Job::Reach(claimed.recipient.clone()));
    }
    let attempts: Vec<Attempt> = stream::iter(drafts)
        .map(|draft| async move {
            let outcome = attempt(worker, &draft, deadline).await;
            let called = draft.sms.is_ok() && outcome != NO_TIME;
            let Claimed { sms, phone, .. } = draft.claimed;
            Attempt { sms, phone, called, outcome }
        })
        .buffer_unordered(CONCURRENCY)
        .collect()
        .await;
    failpoint::reach("record.before");
    let recorded = record(worker, lease, &attempts, deadline).await;
    failpoint::reach("record.after");
    let Some(recorded) = recorded else { return (Vec::new(), sources) };
    let more = recorded.into_iter().filter(|recorded| recorded.more);
    (more.map(|recorded| recorded.recipient).collect(), Vec::new())
}

fn time_left(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now())
}

/// Pays for the SMS of families with a cap, and stops those beyond it.
async fn pay(worker: &Worker, lease: Lease, drafts: &mut [Draft], deadline: Instant) {
    let costs: Vec<Cost> = drafts.iter().filter_map(|draft| draft.cost.clone()).collect();
    if costs.is_empty() {
        return;
    }
    // Paying for longer would leave no time to send. Recording refunds what may have been paid.
    let paid = if time_left(deadline) < SEND_TIME + PAY_TIME {
        None
    } else {
        timeout(PAY_TIME, spending::pay(&worker.db, lease, &costs)).await.ok()
    };
    let verdicts = paid.map(|paid| {
        paid.unwrap_or_else(|error| {
            let error = error.with_causes();
            tracing::error!(sms = costs.len(), error, "can't check monthly caps");
            HashMap::new()
        })
    });
    let verdicts = verdicts.unwrap_or_default();
    for draft in drafts.iter_mut().filter(|draft| draft.cost.is_some()) {
        match verdicts.get(&draft.claimed.sms.sms_id) {
            Some(Verdict::Paid) => {}
            Some(Verdict::Later) => draft.sms = Err(Outcome::Retry { reason: Reason::CapInUse }),
            Some(Verdict::CapReached) => {
                draft.sms = Err(Outcome::Suppressed { reason: Reason::CapReached });
            }
            None => draft.sms = Err(Outcome::Retry { reason: Reason::CapUnknown }),
        }
    }
}

/// Sends one SMS. A panic affects only this one, with the outcome `unknown`.
async fn attempt(worker: &Worker, draft: &Draft, deadline: Instant) -> Outcome {
    let claimed = &draft.claimed;
    let span = tracing::info_span!(
        "sms",
        sms.id = %claimed.sms.sms_id,
        message.id = claimed.message_id.map(tracing::field::display),
        thread.id = %claimed.recipient.thread_id,
        attempt = claimed.attempts,
        request.id = draft.attributes.request_id.as_deref(),
        trace.id = draft.attributes.trace_id(),
    );
    let outcome = AssertUnwindSafe(send(worker, draft, deadline))
        .catch_unwind()
        .await
        .unwrap_or(Outcome::Unknown { reason: Reason::Panic });
    let reason = outcome.reason().map(Reason::as_str);
    span.in_scope(|| match &outcome {
        Outcome::Sent { segments, .. } => tracing::info!(segments, "sent"),
        Outcome::Unknown { .. } => tracing::error!(reason, "unknown whether sent"),
        Outcome::Retry { .. } => tracing::warn!(reason, "not sent, will be retried"),
        Outcome::Failed { .. } => tracing::warn!(reason, "not sent, permanent failure"),
        Outcome::OptedOut => tracing::info!("not sent, number has opted out"),
        Outcome::Suppressed { .. } => tracing::warn!(reason, "not sent"),
    });
    count(&outcome, &draft.attributes);
    outcome
}

/// Logs and counts what the claim settled.
fn count_settled(settled: &Settled, attributes: &Attributes) {
    let Settled { sms_id, recipient, state, reason } = settled;
    tracing::info!(
        sms.id = sms_id.map(tracing::field::display),
        thread.id = %recipient.thread_id,
        request.id = attributes.request_id.as_deref(),
        trace.id = attributes.trace_id(),
        state = state.as_str(),
        reason = reason.as_str(),
        "not to be sent"
    );
    match state {
        DeliveryState::Failed => metrics::counter!("TextsFailed").increment(1),
        DeliveryState::Suppressed => metrics::counter!("TextsSuppressed").increment(1),
        _ => metrics::counter!("TextsCancelled").increment(1),
    }
}

/// Counts an outcome and, for a sent SMS, the time since its job was enqueued.
fn count(outcome: &Outcome, attributes: &Attributes) {
    match outcome {
        Outcome::Sent { segments, .. } => {
            metrics::counter!("TextsSent").increment(1);
            metrics::counter!("Segments").increment(u64::from(*segments));
            if let Some(waited) = attributes.waited() {
                metrics::histogram!("QueueToTextMilliseconds").record(waited.as_secs_f64() * 1e3);
            }
        }
        Outcome::Unknown { .. } => metrics::counter!("TextsUnknown").increment(1),
        Outcome::Retry { .. } => metrics::counter!("TextsRetried").increment(1),
        Outcome::Failed { .. } => metrics::counter!("TextsFailed").increment(1),
        Outcome::OptedOut | Outcome::Suppressed { .. } => {
            metrics::counter!("TextsSuppressed").increment(1);
        }
    }
}

async fn send(worker: &Worker, draft: &Draft, deadline: Instant) -> Outcome {
    let sms = match &draft.sms {
        Ok(sms) => sms,
        Err(why) => return why.clone(),
    };
    // A claim can be slow. A call that could be cut off is left to another run.
    if time_left(deadline) < SEND_TIME {
        return NO_TIME;
    }
    failpoint::reach("send.before");
    // Boxed: the SDK's future exceeds the compiler's recursion limit in its callers.
    let sending = Box::pin(worker.sns.publish(&draft.claimed.phone, sms));
    let mut outcome = sending.in_current_span().await;
    if let Outcome::Sent { stop_notice, .. } = &mut outcome {
        *stop_notice = draft.claimed.stop_notice;
    }
    failpoint::reach("send.after");
    outcome
}

/// Records the outcomes, with retries while there is time; `None` if they could not be.
async fn record(
    worker: &Worker,
    lease: Lease,
    attempts: &[Attempt],
    deadline: Instant,
) -> Option<Vec<Recorded>> {
    if attempts.is_empty() {
        return Some(Vec::new());
    }
    let mut delays = RECORD_BACK_OFF.iter();
    loop {
        let error = match delivery::record(&worker.db, lease, attempts).await {
            Ok(recorded) => {
                if recorded.len() < attempts.len() {
                    // Their leases had expired: they stay `unknown`.
                    let late = attempts.len() - recorded.len();
                    tracing::warn!(late, "leases expired before their outcomes were recorded");
                }
                return Some(recorded);
            }
            Err(error) => error,
        };
        match delays.next() {
            Some(&delay) if Instant::now() + delay < deadline => tokio::time::sleep(delay).await,
            _ => {
                let error = error.with_causes();
                tracing::error!(outcomes = attempts.len(), error, "can't record outcomes");
                return None;
            }
        }
    }
}
