//! One batch: claim all at once, pay where there is a cap, send side by side, record all at once.

use std::{
    collections::{HashMap, HashSet},
    panic::{AssertUnwindSafe, catch_unwind},
    time::{Duration, Instant},
};

use futures_util::{FutureExt, StreamExt, stream};
use shared::{
    delivery::{self, Attempt, Claim, Claimed, DeliveryState, Lease, Outcome, Reason, Settled},
    failpoint,
    i18n::Language,
    ids::NotificationId,
    queue::NotificationJob,
    spending::{self, Cost, Verdict},
};
use tokio::time::timeout;
use tracing::Instrument;

use crate::{
    Worker,
    record::Attributes,
    sms::{self, Sms},
};

/// How many SMS one batch sends at once. A Lambda batch has ten.
const SIDE_BY_SIDE: usize = 32;
/// What one call may take (5 s), and recording it.
const SEND_TIME: Duration = Duration::from_secs(6);
/// There was too little time left to begin a call.
const NO_TIME: Outcome = Outcome::Retry { reason: Reason::NoTime };
/// What paying for a batch may take, where there is a cap.
const PAY_TIME: Duration = Duration::from_secs(2);
/// Pauses between tries to write outcomes down: a send that is not recorded ends as `unknown`.
const RECORD_AGAIN: [Duration; 3] =
    [Duration::from_millis(100), Duration::from_millis(400), Duration::from_millis(1500)];

/// Sends what is due among `jobs` and returns those whose records must come back.
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
            tracing::error!(jobs = jobs.len(), error, "can't claim");
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
        .buffer_unordered(SIDE_BY_SIDE)
        .collect()
        .await;
    failpoint::reach("record.before");
    let unrecorded = record(worker, lease, &attempts, deadline).await;
    failpoint::reach("record.after");
    unrecorded
}

/// An SMS that is ready to go, or why it isn't.
struct Draft {
    claimed: Claimed,
    sms: Result<Sms, Outcome>,
    segments: i32,
    /// What its job came of.
    attributes: Attributes,
}

impl Draft {
    /// Composes the SMS. A panic is this one's alone, and the carrier was not called.
    fn new(worker: &Worker, claimed: Claimed) -> Self {
        let composed = catch_unwind(AssertUnwindSafe(|| compose(worker, &claimed)));
        let composed = composed.unwrap_or(Err(Outcome::Failed { reason: Reason::Panic }));
        let attributes = Attributes::default();
        match composed {
            Ok((sms, segments)) => Self { claimed, sms: Ok(sms), segments, attributes },
            Err(why) => Self { claimed, sms: Err(why), segments: 0, attributes },
        }
    }

    /// What this SMS costs its family, if that family has a cap.
    fn cost(&self) -> Option<Cost> {
        let Claimed { notification_id, ref family_id, monthly_cap, .. } = self.claimed;
        let (cap, segments) = (monthly_cap?, self.segments);
        self.sms.as_ref().ok()?;
        Some(Cost { notification_id, family_id: family_id.clone(), segments, cap })
    }
}

/// The SMS, and how many segments it is.
fn compose(worker: &Worker, claimed: &Claimed) -> Result<(Sms, i32), Outcome> {
    let token = worker.keys.sign(claimed.link);
    let token = token.map_err(|_| Outcome::Retry { reason: Reason::Signing })?;
    let sms = sms::compose(&sms::Content {
        subject: match &claimed.sender {
            Some(sender) => sms::Subject::Message {
                sender: sender.as_str(),
                body: claimed.body.as_deref(),
                file_count: claimed.file_count,
                // Each message has an SMS of its own: nothing is merged into it.
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

/// Pays for the SMS of families that have a cap, and stops those that it does not reach for.
async fn pay(worker: &Worker, lease: Lease, drafts: &mut [Draft], deadline: Instant) {
    let costs: Vec<Cost> = drafts.iter().filter_map(Draft::cost).collect();
    if costs.is_empty() {
        return;
    }
    // What takes longer leaves no time to send. Recording sets right what may have been paid for.
    let paid = if deadline.saturating_duration_since(Instant::now()) < SEND_TIME + PAY_TIME {
        None
    } else {
        timeout(PAY_TIME, spending::pay(&worker.db, lease, &costs)).await.ok()
    };
    let verdicts = paid.map(|paid| {
        paid.unwrap_or_else(|error| {
            let error = error.with_causes();
            tracing::error!(texts = costs.len(), error, "can't tell what may be spent");
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

/// Sends one SMS. A panic is this record's alone; how far it had got is unknown.
async fn attempt(worker: &Worker, draft: &Draft, deadline: Instant) -> Outcome {
    let claimed = &draft.claimed;
    let span = tracing::info_span!(
        "text",
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
        Outcome::Retry { .. } => tracing::warn!(reason, "not sent, will be tried again"),
        Outcome::Failed { .. } => tracing::warn!(reason, "not sent, for good"),
        Outcome::OptedOut => tracing::info!("not sent, number has opted out"),
        Outcome::Suppressed { .. } => tracing::warn!(reason, "not sent"),
    });
    count(&outcome, &draft.attributes);
    outcome
}

/// Says and counts what the claim itself found.
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

/// Counts what became of an SMS, and how long its job took from the queue to there.
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
    // A claim can be slow: what would be cut short in mid-call is left for another run.
    if deadline.saturating_duration_since(Instant::now()) < SEND_TIME {
        return NO_TIME;
    }
    failpoint::reach("send.before");
    // Boxed: the SDK's call nests deeper than the compiler follows through all of its callers.
    let sending = Box::pin(worker.sns.publish(&draft.claimed.phone, sms));
    let mut outcome = sending.in_current_span().await;
    if let Outcome::Sent { stop_notice, .. } = &mut outcome {
        *stop_notice = draft.claimed.stop_notice;
    }
    failpoint::reach("send.after");
    outcome
}

/// Writes the outcomes down, trying again while there is time, and returns those not written.
async fn record(
    worker: &Worker,
    lease: Lease,
    attempts: &[Attempt],
    deadline: Instant,
) -> HashSet<NotificationId> {
    if attempts.is_empty() {
        return HashSet::new();
    }
    let mut pauses = RECORD_AGAIN.iter();
    loop {
        let error = match delivery::record(&worker.db, lease, attempts).await {
            Ok(recorded) => {
                if recorded.len() < attempts.len() {
                    // Their leases had run out: they are `unknown`, and stay so.
                    let late = attempts.len() - recorded.len();
                    tracing::warn!(late, "outcomes came after their lease");
                }
                return HashSet::new();
            }
            Err(error) => error,
        };
        match pauses.next() {
            Some(&pause) if Instant::now() + pause < deadline => tokio::time::sleep(pause).await,
            _ => {
                let error = error.with_causes();
                tracing::error!(outcomes = attempts.len(), error, "can't record outcomes");
                return attempts.iter().map(|attempt| attempt.notification_id).collect();
            }
        }
    }
}
