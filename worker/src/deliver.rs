//! One batch: claim all at once, send side by side, record all at once.

use std::{
    collections::HashSet,
    panic::AssertUnwindSafe,
    time::{Duration, Instant},
};

use futures_util::{FutureExt, StreamExt, stream};
use shared::{
    failpoint,
    ids::NotificationId,
    notifications::{self, Attempt, Claimed, Lease, Outcome},
    queue::NotificationJob,
    words::Language,
};
use tracing::Instrument;

use crate::{Worker, sms};

/// How many texts one batch sends at once. A Lambda batch has ten.
const SIDE_BY_SIDE: usize = 32;
/// What one call may take (5 s), and recording it.
const SEND_TIME: Duration = Duration::from_secs(6);
/// Pauses between tries to write outcomes down: a send that is not recorded ends as `unknown`.
const RECORD_AGAIN: [Duration; 3] =
    [Duration::from_millis(100), Duration::from_millis(400), Duration::from_millis(1500)];

/// Sends what is due among `jobs` and returns those whose records must come back.
pub(crate) async fn deliver(
    worker: &Worker,
    jobs: &[NotificationJob],
    deadline: Instant,
) -> HashSet<NotificationId> {
    failpoint::reach("claim.before");
    let (lease, claimed) = match notifications::claim(&worker.db, jobs, worker.stop_notices).await {
        Ok(claim) => claim,
        Err(error) => {
            let error = error.with_causes();
            tracing::error!(jobs = jobs.len(), error, "can't claim");
            return jobs.iter().map(|job| job.notification_id).collect();
        }
    };
    failpoint::reach("claim.after");
    let attempts: Vec<Attempt> = stream::iter(claimed)
        .map(|claimed| async move {
            let outcome = attempt(worker, &claimed, deadline).await;
            let Claimed { notification_id, phone, .. } = claimed;
            Attempt { notification_id, phone, outcome }
        })
        .buffer_unordered(SIDE_BY_SIDE)
        .collect()
        .await;
    failpoint::reach("record.before");
    let unrecorded = record(worker, lease, &attempts, deadline).await;
    failpoint::reach("record.after");
    unrecorded
}

/// Sends one text. A panic is this record's alone, and nobody knows how far it had got.
async fn attempt(worker: &Worker, claimed: &Claimed, deadline: Instant) -> Outcome {
    let span = tracing::info_span!(
        "text",
        notification.id = %claimed.notification_id,
        message.id = claimed.message_id.map(tracing::field::display),
        thread.id = %claimed.thread_id,
        attempt = claimed.attempts,
    );
    let outcome = AssertUnwindSafe(send(worker, claimed, deadline))
        .catch_unwind()
        .await
        .unwrap_or(Outcome::Unknown { reason: "panic" });
    span.in_scope(|| match &outcome {
        Outcome::Sent { segments, .. } => tracing::info!(segments, "sent"),
        Outcome::Unknown { reason } => tracing::error!(reason, "unknown whether sent"),
        Outcome::Retry { reason } => tracing::warn!(reason, "not sent, will be tried again"),
        Outcome::Failed { reason } => tracing::warn!(reason, "not sent, for good"),
        Outcome::OptedOut => tracing::info!("not sent, number has opted out"),
    });
    outcome
}

async fn send(worker: &Worker, claimed: &Claimed, deadline: Instant) -> Outcome {
    // A claim can be slow: what would be cut short in mid-call is left for another run.
    if deadline.saturating_duration_since(Instant::now()) < SEND_TIME {
        return Outcome::Retry { reason: "no_time" };
    }
    let Ok(token) = worker.keys.sign(claimed.link) else {
        return Outcome::Retry { reason: "signing" };
    };
    let text = sms::compose(&sms::Content {
        subject: match &claimed.sender {
            Some(sender) => sms::Subject::Message {
                sender: sender.as_str(),
                body: claimed.body.as_deref(),
                file_count: claimed.file_count,
                // Each message has a text of its own: nothing is merged into it.
                waiting: 0,
            },
            None => sms::Subject::FreshLink,
        },
        thread: &claimed.thread_title,
        language: Language::of_locale(claimed.locale.as_deref()),
        stop_notice: claimed.stop_notice,
        link: &format!("{}/l#{token}", worker.public_url),
        limits: worker.limits,
    });
    failpoint::reach("send.before");
    // Boxed: the SDK's call nests deeper than the compiler follows through all of its callers.
    let sending = Box::pin(worker.sns.publish(&claimed.phone, &text));
    let mut outcome = sending.in_current_span().await;
    if let Outcome::Sent { stop_notice, .. } = &mut outcome {
        *stop_notice = claimed.stop_notice;
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
        let error = match notifications::record(&worker.db, lease, attempts).await {
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
