//! A database whose large tables are split, as `infra/partitioning/partition.sql` does it.

use sqlx::{AssertSqlSafe, Connection, PgConnection};

/// The script that an operator runs.
const SCRIPT: &str = include_str!("../../infra/partitioning/partition.sql");

/// How many parts every system's tables are split into, as `KINLINE_TEST_PARTITIONS` says.
#[must_use]
pub fn wanted() -> Option<u32> {
    std::env::var("KINLINE_TEST_PARTITIONS").ok().map(|parts| parts.parse().expect("a number"))
}

/// Splits the tables of the database at `url` into so many parts each.
///
/// # Errors
/// What the database says against it; then nothing has changed.
pub async fn split(url: &str, parts: u32) -> sqlx::Result<()> {
    let mut owner = PgConnection::connect(url).await?;
    let script = format!("SET kinline.partitions = {parts}; {SCRIPT}");
    sqlx::raw_sql(AssertSqlSafe(script)).execute(&mut owner).await?;
    owner.close().await
}
