//! SQL statements on spending, except refunds, which recording an outcome makes.

use sqlx::PgConnection;
use time::Date;

use super::Cost;
use crate::{
    Result,
    delivery::{Lease, note_paid},
    ids::{FamilyId, SmsId},
};

/// Ensures that each family has a row for the current month, and returns the month.
pub(super) async fn open_month(tx: &mut PgConnection, families: &[&FamilyId]) -> Result<Date> {
    let month = sqlx::query_scalar(
        "WITH opened AS (
             INSERT INTO sms_spending (family_id, month)
             SELECT family_id, date_trunc('month', now() AT TIME ZONE 'UTC')::date
             FROM unnest($1::text[]) family_id
             ORDER BY family_id
             ON CONFLICT DO NOTHING
         )
         SELECT date_trunc('month', now() AT TIME ZONE 'UTC')::date",
    )
    .bind(strings(families))
    .fetch_one(tx)
    .await?;
    Ok(month)
}

/// Locks the families' spending until the transaction ends. Returns what each has spent, and how much of it
/// on SMS that are being sent.
pub(super) async fn lock(
    tx: &mut PgConnection,
    families: &[&FamilyId],
    month: Date,
) -> Result<Vec<(FamilyId, i32, i32)>> {
    sqlx::query(
        "SELECT FROM sms_spending WHERE family_id = ANY($1) AND month = $2
         ORDER BY family_id FOR UPDATE",
    )
    .bind(strings(families))
    .bind(month)
    .execute(&mut *tx)
    .await?;
    // A separate statement: it sees what the previous holders of the locks committed.
    let spent = sqlx::query_as(
        "SELECT s.family_id, s.segments, coalesce((
                    SELECT sum(open.paid_segments) FROM sms open
                    WHERE open.state = 'sending' AND open.family_id = s.family_id
                      AND open.paid_month = s.month), 0)::int
         FROM sms_spending s WHERE s.family_id = ANY($1) AND s.month = $2",
    )
    .bind(strings(families))
    .bind(month)
    .fetch_all(tx)
    .await?;
    Ok(spent)
}

/// Adds the costs to the families' spending and stores them in the SMS.
pub(super) async fn pay(
    tx: &mut PgConnection,
    lease: Lease,
    month: Date,
    costs: &[&Cost],
) -> Result<()> {
    let ids: Vec<SmsId> = costs.iter().map(|cost| cost.sms_id).collect();
    let families: Vec<&str> = costs.iter().map(|cost| cost.family_id.as_str()).collect();
    let segments: Vec<i32> = costs.iter().map(|cost| cost.segments).collect();
    sqlx::query(concat!(
        "WITH paid AS (",
        note_paid!(),
        ")
         UPDATE sms_spending s SET segments = s.segments + p.segments
         FROM (SELECT family_id, sum(paid_segments)::int AS segments FROM paid GROUP BY family_id) p
         WHERE s.family_id = p.family_id AND s.month = $3",
    ))
    .bind(ids)
    .bind(segments)
    .bind(month)
    .bind(lease.token())
    .bind(families)
    .execute(tx)
    .await?;
    Ok(())
}

fn strings(families: &[&FamilyId]) -> Vec<String> {
    families.iter().map(|family| family.as_str().to_owned()).collect()
}
