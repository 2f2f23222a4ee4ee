//! The monthly cap: a text of a family that has one is paid for before it is sent, and its own row
//! says so. What certainly did not go out is given back with its outcome
//! ([`crate::delivery::record`]).

mod store;

use std::collections::{BTreeMap, HashMap};

use crate::{
    Result,
    db::{self, Pool},
    delivery::Lease,
    ids::{FamilyId, NotificationId},
};

/// A text that is about to be sent, of a family with a cap.
#[derive(Debug, Clone)]
pub struct Cost {
    /// The text.
    pub notification_id: NotificationId,
    /// Whose it is.
    pub family_id: FamilyId,
    /// What it costs, in segments.
    pub segments: i32,
    /// What the family may spend a month, in segments.
    pub cap: i32,
}

/// Whether a text may go out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is paid for.
    Paid,
    /// What is left may be spent by texts that are just being sent, or may not: ask again later.
    Later,
    /// The month's money is spent.
    CapReached,
}

/// What a family has spent this month.
#[derive(Clone, Copy)]
struct Spent {
    /// On texts that went out, may have gone out, or are just being sent.
    all: i32,
    /// Of that, on those that are just being sent: it may come back.
    open: i32,
}

/// Pays for as many of these texts as their families' caps allow, in their order, as long as `lease`
/// holds. However many pay at once, no cap is passed by a single segment.
///
/// # Errors
/// [`crate::Error`] of the database alone. Whether anything was paid for is not known then; recording
/// how it went sets it right.
pub async fn pay(
    pool: &Pool,
    lease: Lease,
    costs: &[Cost],
) -> Result<HashMap<NotificationId, Verdict>> {
    let mut tx = db::begin_as_worker(pool).await?;
    let mut families: Vec<&FamilyId> = costs.iter().map(|cost| &cost.family_id).collect();
    // In one order, whoever pays, so that no two wait for each other.
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
        verdicts.insert(cost.notification_id, verdict);
    }
    store::pay(&mut tx, lease, month, &paid).await?;
    tx.commit().await?;
    Ok(verdicts)
}
