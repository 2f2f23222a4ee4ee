//! A database whose large tables are split by `infra/partitioning/partition.sql`.

use sqlx::{AssertSqlSafe, Connection, PgConnection};

/// The script, as an operator runs it.
const SCRIPT: &str = include_str!("../../infra/partitioning/partition.sql");

/// The number of parts that each system's tables are split into, from `KINLINE_TEST_PARTITIONS`.
#[must_use]
pub fn wanted() -> Option<u32> {
    std::env::var("KINLINE_TEST_PARTITIONS").ok().map(|parts| parts.parse().expect("a number"))
}

/// Splits the tables of the database at `url` into `parts` parts each.
///
/// # Errors
/// Errors of the database; then nothing has changed.
pub async fn split(url: &str, parts: u32) -> sqlx::Result<()> {
    let mut owner = PgConnection::connect(url).await?;
    let script = format!("SET kinline.partitions = {parts}; {SCRIPT}");
    sqlx::raw_sql(AssertSqlSafe(script)).execute(&mut owner).await?;
    owner.close().await
}
