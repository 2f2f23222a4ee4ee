//! Composing the SMS of a claim.

use std::panic::{AssertUnwindSafe, catch_unwind};

use shared::{
    delivery::{Claimed, Outcome, Reason},
    erasure::FORMER_MEMBER,
    i18n::Language,
    queue::SmsJob,
    spending::Cost,
    text::Name,
};

use crate::{
    Worker,
    record::Attributes,
    sms::{self, Sms},
};

/// A composed SMS, or the outcome that prevents sending it.
pub(super) struct Draft {
    pub(super) claimed: Claimed,
    pub(super) sms: Result<Sms, Outcome>,
    /// Its cost, if it is paid from a cap. Links that people asked for have limits of their own, so that a spent
    /// cap locks no member out, and a stranger can't spend it.
    pub(super) cost: Option<Cost>,
    /// The attributes of the job's record.
    pub(super) attributes: Attributes,
}

impl Draft {
    /// Composes the SMS. A panic fails only this one, and the carrier is not called.
    pub(super) fn new(worker: &Worker, claimed: Claimed, attributes: Attributes) -> Self {
        let composed = catch_unwind(AssertUnwindSafe(|| compose(worker, &claimed)));
        let composed = composed.unwrap_or(Err(Outcome::Failed { reason: Reason::Panic }));
        let (sms, segments) = match composed {
            Ok((sms, segments)) => (Ok(sms), Some(segments)),
            Err(why) => (Err(why), None),
        };
        let cap =
            claimed.monthly_cap.or(worker.default_cap).filter(|_| claimed.message_id.is_some());
        let cost = cap.zip(segments).map(|(cap, segments)| {
            let SmsJob { sms_id, family_id } = claimed.sms.clone();
            Cost { sms_id, family_id, segments, cap }
        });
        Self { claimed, sms, cost, attributes }
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
                waiting: u32::try_from(claimed.waiting).unwrap_or_default(),
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
