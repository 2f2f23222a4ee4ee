//! The monthly cap: an SMS of a family with a cap is paid for, in its own row, before it is sent. If it
//! certainly was not sent, its outcome ([`crate::delivery::record`]) refunds it.

mod store;

use std::collections::{BTreeMap, HashMap};

use crate::{
    Result,
    db::{self, Pool},
    delivery::Lease,
    ids::{FamilyId, SmsId},
};

/// The cost of an SMS to be sent, of a family with a cap.
#[derive(Debug, Clone)]
pub struct Cost {
    /// The SMS.
    pub sms_id: SmsId,
    /// Its family.
    pub family_id: FamilyId,
    /// The cost, in segments.
    pub segments: i32,
    /// The family's monthly cap, in segments.
    pub cap: i32,
}

/// Whether an SMS may be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Paid: it may be sent.
    Paid,
    /// SMS that are being sent may use the rest of the cap: to be retried later.
    Later,
    /// The cap is reached.
    CapReached,
}

/// A family's spending this month, in segments.
#[derive(Clone, Copy)]
struct Spent {
    /// Of SMS that were sent, may have been sent, or are being sent.
    all: i32,
    /// Of those that are being sent, which may be refunded.
    open: i32,
}

/// Pays for as many of these SMS as their families' caps allow, in order, while `lease` is valid. Concurrent
/// calls never exceed a cap.
///
/// # Errors
/// Only database errors. Then it is unknown what was paid; recording the outcomes corrects it.
pub async fn pay(pool: &Pool, lease: Lease, costs: &[Cost]) -> Result<HashMap<SmsId, Verdict>> {
    let mut tx = db::begin_as_worker(pool).await?;
    let mut families: Vec<&FamilyId> = costs.iter().map(|cost| &cost.family_id).collect();
    // In one order in all workers, to avoid deadlocks.
    families.sort();
    families.dedup();
    let month = store::open_month(&mut tx, &families).await?;
    let spent = store::lock(&mut tx, &families, month).await?;
    let mut spent: BTreeMap<FamilyId, Spent> =
        spent.into_iter().map(|(family, all, open)| (family, Spent { all, open })).collect();

    let mut verdicts = HashMap::new();
    let mut paid = Vec::new();
    for cost in costs {
        let Some(spent) = spent.get_mut(&cost.family_id) else { continue };
        let fits =
            |already: i32| already.checked_add(cost.segments).is_some_and(|sum| sum <= cost.cap);
        let verdict = if fits(spent.all) {
            spent.all += cost.segments;
            spent.open += cost.segments;
            paid.push(cost);
            Verdict::Paid
        } else if fits(spent.all - spent.open) {
            Verdict::Later
        } else {
            Verdict::CapReached
        };
        verdicts.insert(cost.sms_id, verdict);
    }
    store::pay(&mut tx, lease, month, &paid).await?;
    tx.commit().await?;
    Ok(verdicts)
}
