//! Every SQL statement on what texts have cost.

use sqlx::PgConnection;
use time::Date;

use crate::{Result, ids::FamilyId};

/// Sees to it that each family has a row for this month, and says which month that is.
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

/// What these families have spent; nobody else changes it before this transaction ends.
pub(super) async fn lock(
    tx: &mut PgConnection,
    families: &[&FamilyId],
    month: Date,
) -> Result<Vec<(FamilyId, i32)>> {
    let spent = sqlx::query_as(
        "SELECT family_id, segments FROM sms_spending
         WHERE family_id = ANY($1) AND month = $2
         ORDER BY family_id FOR UPDATE",
    )
    .bind(strings(families))
    .bind(month)
    .fetch_all(tx)
    .await?;
    Ok(spent)
}

/// Adds to what families have spent, or takes away from it.
pub(super) async fn add(
    tx: &mut PgConnection,
    month: Date,
    changes: &[(&FamilyId, i32)],
) -> Result<()> {
    let (families, segments): (Vec<&FamilyId>, Vec<i32>) = changes.iter().copied().unzip();
    sqlx::query(
        "UPDATE sms_spending s SET segments = greatest(s.segments + c.segments, 0)
         FROM unnest($1::text[], $2::int[]) AS c (family_id, segments)
         WHERE s.family_id = c.family_id AND s.month = $3",
    )
    .bind(strings(&families))
    .bind(segments)
    .bind(month)
    .execute(tx)
    .await?;
    Ok(())
}

fn strings(families: &[&FamilyId]) -> Vec<String> {
    families.iter().map(|family| family.as_str().to_owned()).collect()
}
