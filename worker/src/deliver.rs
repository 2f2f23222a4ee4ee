//! One batch: claim all at once, pay where there is a cap, send side by side, record all at once.

use std::{
    collections::HashSet,
    panic::{AssertUnwindSafe, catch_unwind},
    time::{Duration, Instant},
};

use futures_util::{FutureExt, StreamExt, stream};
use shared::{
    failpoint,
    ids::NotificationId,
    notifications::{self, Attempt, Claimed, Lease, Outcome},
    queue::NotificationJob,
    spending::{self, Cost},
    words::Language,
};
use time::Date;
use tracing::Instrument;

use crate::{
    Worker,
    sms::{self, Text},
};

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
    let mut drafts: Vec<Draft> =
        claimed.into_iter().map(|claimed| Draft::new(worker, claimed)).collect();
    let paid = pay(worker, &mut drafts).await;
    let attempts: Vec<Attempt> = stream::iter(drafts)
        .map(|draft| async move {
            let outcome = attempt(worker, &draft, deadline).await;
            let Claimed { notification_id, phone, .. } = draft.claimed;
            Attempt { notification_id, phone, outcome }
        })
        .buffer_unordered(SIDE_BY_SIDE)
        .collect()
        .await;
    failpoint::reach("record.before");
    let unrecorded = record(worker, lease, &attempts, deadline).await;
    failpoint::reach("record.after");
    if let Some((month, costs)) = paid {
        give_back(worker, month, costs, &attempts).await;
    }
    unrecorded
}

/// A text that is ready to go, or why it isn't.
struct Draft {
    claimed: Claimed,
    text: Result<Text, Outcome>,
}

impl Draft {
    /// Composes the text. A panic is this text's alone, and nobody was called.
    fn new(worker: &Worker, claimed: Claimed) -> Self {
        let text = catch_unwind(AssertUnwindSafe(|| compose(worker, &claimed)));
        let text = text.unwrap_or(Err(Outcome::Failed { reason: "panic" }));
        Self { claimed, text }
    }

    /// What this text costs its family, if that family has a cap.
    fn cost(&self) -> Option<Cost> {
        let (cap, text) = (self.claimed.monthly_cap?, self.text.as_ref().ok()?);
        let segments = i32::try_from(sms::measure(text.as_str()).segments).ok()?;
        let Claimed { notification_id, ref family_id, .. } = self.claimed;
        Some(Cost { notification_id, family_id: family_id.clone(), segments, cap })
    }
}

fn compose(worker: &Worker, claimed: &Claimed) -> Result<Text, Outcome> {
    let token = worker.keys.sign(claimed.link);
    let token = token.map_err(|_| Outcome::Retry { reason: "signing" })?;
    Ok(sms::compose(&sms::Content {
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
    }))
}

/// Pays for the texts of families that have a cap, and stops those that it does not reach for.
async fn pay(worker: &Worker, drafts: &mut [Draft]) -> Option<(Date, Vec<Cost>)> {
    let costs: Vec<Cost> = drafts.iter().filter_map(Draft::cost).collect();
    if costs.is_empty() {
        return None;
    }
    let paid = match spending::pay(&worker.db, &costs).await {
        Ok(paid) => Some(paid),
        Err(error) => {
            let error = error.with_causes();
            tracing::error!(texts = costs.len(), error, "can't tell what may be spent");
            None
        }
    };
    for draft in drafts.iter_mut().filter(|draft| draft.cost().is_some()) {
        match &paid {
            Some(paid) if paid.texts.contains(&draft.claimed.notification_id) => {}
            Some(_) => draft.text = Err(Outcome::Suppressed { reason: "cap_reached" }),
            None => draft.text = Err(Outcome::Retry { reason: "cap_unknown" }),
        }
    }
    paid.map(|paid| {
        let of_sent = |cost: &Cost| paid.texts.contains(&cost.notification_id);
        (paid.month, costs.into_iter().filter(of_sent).collect())
    })
}

/// Gives back what was paid for texts that certainly did not go out.
async fn give_back(worker: &Worker, month: Date, mut paid: Vec<Cost>, attempts: &[Attempt]) {
    let went_out =
        |outcome: &Outcome| matches!(outcome, Outcome::Sent { .. } | Outcome::Unknown { .. });
    let kept: HashSet<NotificationId> = attempts
        .iter()
        .filter(|attempt| went_out(&attempt.outcome))
        .map(|attempt| attempt.notification_id)
        .collect();
    paid.retain(|cost| !kept.contains(&cost.notification_id));
    if paid.is_empty() {
        return;
    }
    if let Err(error) = spending::give_back(&worker.db, month, &paid).await {
        // The family has spent less than it says: on the safe side.
        let error = error.with_causes();
        tracing::warn!(texts = paid.len(), error, "can't give back what was not spent");
    }
}

/// Sends one text. A panic is this record's alone, and nobody knows how far it had got.
async fn attempt(worker: &Worker, draft: &Draft, deadline: Instant) -> Outcome {
    let claimed = &draft.claimed;
    let span = tracing::info_span!(
        "text",
        notification.id = %claimed.notification_id,
        message.id = claimed.message_id.map(tracing::field::display),
        thread.id = %claimed.thread_id,
        attempt = claimed.attempts,
    );
    let outcome = AssertUnwindSafe(send(worker, draft, deadline))
        .catch_unwind()
        .await
        .unwrap_or(Outcome::Unknown { reason: "panic" });
    span.in_scope(|| match &outcome {
        Outcome::Sent { segments, .. } => tracing::info!(segments, "sent"),
        Outcome::Unknown { reason } => tracing::error!(reason, "unknown whether sent"),
        Outcome::Retry { reason } => tracing::warn!(reason, "not sent, will be tried again"),
        Outcome::Failed { reason } => tracing::warn!(reason, "not sent, for good"),
        Outcome::OptedOut => tracing::info!("not sent, number has opted out"),
        Outcome::Suppressed { reason } => tracing::warn!(reason, "not sent"),
    });
    outcome
}

async fn send(worker: &Worker, draft: &Draft, deadline: Instant) -> Outcome {
    let text = match &draft.text {
        Ok(text) => text,
        Err(why) => return why.clone(),
    };
    // A claim can be slow: what would be cut short in mid-call is left for another run.
    if deadline.saturating_duration_since(Instant::now()) < SEND_TIME {
        return Outcome::Retry { reason: "no_time" };
    }
    failpoint::reach("send.before");
    // Boxed: the SDK's call nests deeper than the compiler follows through all of its callers.
    let sending = Box::pin(worker.sns.publish(&draft.claimed.phone, text));
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
