//! Delivery of a batch: claim together, pay under a cap, send concurrently, record together.

use std::{
    collections::{HashMap, HashSet},
    panic::{AssertUnwindSafe, catch_unwind},
    time::{Duration, Instant},
};

use futures_util::{FutureExt, StreamExt, stream};
use shared::{
    delivery::{self, Attempt, Claim, Claimed, DeliveryState, Lease, Outcome, Reason, Settled},
    erasure::FORMER_MEMBER,
    failpoint,
    i18n::Language,
    ids::NotificationId,
    queue::NotificationJob,
    spending::{self, Cost, Verdict},
    text::Name,
};
use tokio::time::timeout;
use tracing::Instrument;

use crate::{
    Worker,
    record::Attributes,
    sms::{self, Sms},
};

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

/// Sends the due notifications of `jobs` and returns those whose records failed.
pub(crate) async fn deliver(
    worker: &Worker,
    jobs: &[NotificationJob],
    mut attributes: HashMap<NotificationId, Attributes>,
    deadline: Instant,
) -> HashSet<NotificationId> {
    failpoint::reach("claim.before");
    let claim = match delivery::claim(&worker.db, jobs, worker.stop_notices).await {
        Ok(claim) => claim,
        Err(error) => {
            let error = error.with_causes();
            tracing::error!(jobs = jobs.len(), error, "can't claim notifications");
            return jobs.iter().map(|job| job.notification_id).collect();
        }
    };
    failpoint::reach("claim.after");
    let Claim { lease, claimed, settled } = claim;
    for settled in settled {
        let attributes = attributes.remove(&settled.notification_id).unwrap_or_default();
        count_settled(&settled, &attributes);
    }
    let mut drafts: Vec<Draft> =
        claimed.into_iter().map(|claimed| Draft::new(worker, claimed)).collect();
    for draft in &mut drafts {
        draft.attributes = attributes.remove(&draft.claimed.notification_id).unwrap_or_default();
    }
    pay(worker, lease, &mut drafts, deadline).await;
    let attempts: Vec<Attempt> = stream::iter(drafts)
        .map(|draft| async move {
            let outcome = attempt(worker, &draft, deadline).await;
            let called = draft.sms.is_ok() && outcome != NO_TIME;
            let Claimed { notification_id, family_id, phone, .. } = draft.claimed;
            Attempt { notification_id, family_id, phone, called, outcome }
        })
        .buffer_unordered(CONCURRENCY)
        .collect()
        .await;
    failpoint::reach("record.before");
    let unrecorded = record(worker, lease, &attempts, deadline).await;
    failpoint::reach("record.after");
    unrecorded
}

/// A composed SMS, or the outcome that prevents sending it.
struct Draft {
    claimed: Claimed,
    sms: Result<Sms, Outcome>,
    segments: i32,
    /// The attributes of the job's record.
    attributes: Attributes,
}

impl Draft {
    /// Composes the SMS. A panic fails only this one, and the carrier is not called.
    fn new(worker: &Worker, claimed: Claimed) -> Self {
        let composed = catch_unwind(AssertUnwindSafe(|| compose(worker, &claimed)));
        let composed = composed.unwrap_or(Err(Outcome::Failed { reason: Reason::Panic }));
        let attributes = Attributes::default();
        match composed {
            Ok((sms, segments)) => Self { claimed, sms: Ok(sms), segments, attributes },
            Err(why) => Self { claimed, sms: Err(why), segments: 0, attributes },
        }
    }

    /// Returns the cost of this SMS, if its family has a cap.
    fn cost(&self) -> Option<Cost> {
        let Claimed { notification_id, ref family_id, monthly_cap, .. } = self.claimed;
        let (cap, segments) = (monthly_cap?, self.segments);
        self.sms.as_ref().ok()?;
        Some(Cost { notification_id, family_id: family_id.clone(), segments, cap })
    }
}

/// Composes an SMS and counts its segments.
fn compose(worker: &Worker, claimed: &Claimed) -> Result<(Sms, i32), Outcome> {
    let token = worker.keys.sign(claimed.link);
    let token = token.map_err(|_| Outcome::Retry { reason: Reason::Signing })?;
    let sms = sms::compose(&sms::Content {
        subject: match claimed.message_id {
            Some(_) => sms::Subject::Message {
                sender: claimed.sender.as_ref().map_or(FORMER_MEMBER, Name::as_str),
                body: claimed.body.as_deref(),
                file_count: claimed.file_count,
                // Each message has its own SMS: none are coalesced.
                waiting: 0,
            },
            None => sms::Subject::FreshLink,
        },
        thread: claimed.thread_title.as_deref().unwrap_or(claimed.thread_kind.default_title()),
        language: Language::of_locale(claimed.locale.as_deref()),
        stop_notice: claimed.stop_notice,
        link: &format!("{}/l#{token}", worker.public_url),
        limits: worker.limits,
    });
    let segments = i32::try_from(sms::measure(sms.as_str()).segments).unwrap_or(i32::MAX);
    Ok((sms, segments))
}

/// Pays for the SMS of families with a cap, and stops those beyond it.
async fn pay(worker: &Worker, lease: Lease, drafts: &mut [Draft], deadline: Instant) {
    let costs: Vec<Cost> = drafts.iter().filter_map(Draft::cost).collect();
    if costs.is_empty() {
        return;
    }
    // Paying for longer would leave no time to send. Recording refunds what may have been paid.
    let paid = if deadline.saturating_duration_since(Instant::now()) < SEND_TIME + PAY_TIME {
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
    for draft in drafts.iter_mut().filter(|draft| draft.cost().is_some()) {
        match verdicts.get(&draft.claimed.notification_id) {
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
        notification.id = %claimed.notification_id,
        message.id = claimed.message_id.map(tracing::field::display),
        thread.id = %claimed.thread_id,
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

/// Logs and counts a notification that the claim settled.
fn count_settled(settled: &Settled, attributes: &Attributes) {
    let Settled { notification_id, state, reason } = settled;
    tracing::info!(
        notification.id = %notification_id,
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
    if deadline.saturating_duration_since(Instant::now()) < SEND_TIME {
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

/// Records the outcomes, with retries while there is time, and returns those not recorded.
async fn record(
    worker: &Worker,
    lease: Lease,
    attempts: &[Attempt],
    deadline: Instant,
) -> HashSet<NotificationId> {
    if attempts.is_empty() {
        return HashSet::new();
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
                return HashSet::new();
            }
            Err(error) => error,
        };
        match delays.next() {
            Some(&delay) if Instant::now() + delay < deadline => tokio::time::sleep(delay).await,
            _ => {
                let error = error.with_causes();
                tracing::error!(outcomes = attempts.len(), error, "can't record outcomes");
                return attempts.iter().map(|attempt| attempt.notification_id).collect();
            }
        }
    }
}
