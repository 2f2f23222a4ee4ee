//! The monthly cap: a text of a family that has one is paid for before it is sent.

mod store;

use std::collections::{BTreeMap, HashSet};

use sqlx::PgPool;
use time::Date;

use crate::{
    Result, db,
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

/// What was paid for, so that what is not sent after all can be given back.
#[derive(Debug, Clone)]
pub struct Paid {
    /// The first day of the month that it counts for, in UTC.
    pub month: Date,
    /// The texts that may go out.
    pub texts: HashSet<NotificationId>,
}

/// Pays for as many of these texts as their families' caps allow, in their order; the others must not
/// be sent. However many pay at once, no cap is passed by a single segment.
///
/// # Errors
/// [`crate::Error`] of the database alone; then nothing was paid for.
pub async fn pay(pool: &PgPool, costs: &[Cost]) -> Result<Paid> {
    let mut tx = db::every_family(pool).await?;
    // In one order, whoever pays, so that no two wait for each other.
    let families: BTreeMap<&FamilyId, i32> =
        costs.iter().map(|cost| (&cost.family_id, cost.cap)).collect();
    let ids: Vec<&FamilyId> = families.keys().copied().collect();
    let month = store::open_month(&mut tx, &ids).await?;
    let mut spent: BTreeMap<FamilyId, i32> =
        store::lock(&mut tx, &ids, month).await?.into_iter().collect();
    let before = spent.clone();
    let mut texts = HashSet::new();
    for cost in costs {
        let Some(spent) = spent.get_mut(&cost.family_id) else { continue };
        if let Some(sum) = spent.checked_add(cost.segments).filter(|sum| *sum <= cost.cap) {
            *spent = sum;
            texts.insert(cost.notification_id);
        }
    }
    let changes: Vec<(&FamilyId, i32)> = spent
        .iter()
        .map(|(family, now)| (family, now - before.get(family).copied().unwrap_or_default()))
        .filter(|(_, more)| *more > 0)
        .collect();
    store::add(&mut tx, month, &changes).await?;
    tx.commit().await?;
    Ok(Paid { month, texts })
}

/// Gives back what was paid for texts that certainly did not go out.
///
/// # Errors
/// [`crate::Error`] of the database alone; then nothing was given back, which errs on the safe side.
pub async fn give_back(pool: &PgPool, month: Date, unsent: &[Cost]) -> Result<()> {
    let mut sums: BTreeMap<&FamilyId, i32> = BTreeMap::new();
    for cost in unsent {
        *sums.entry(&cost.family_id).or_default() -= cost.segments;
    }
    let changes: Vec<(&FamilyId, i32)> = sums.into_iter().collect();
    let mut tx = db::every_family(pool).await?;
    let ids: Vec<&FamilyId> = changes.iter().map(|(family, _)| *family).collect();
    store::lock(&mut tx, &ids, month).await?;
    store::add(&mut tx, month, &changes).await?;
    tx.commit().await?;
    Ok(())
}
