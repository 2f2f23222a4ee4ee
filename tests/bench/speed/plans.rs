//! Every SQL statement on this data set, by `EXPLAIN (ANALYZE, BUFFERS)` while it is executed with real
//! parameters.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
    fs,
    path::Path,
};

use serde::Deserialize;
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tests::{
    System,
    statements::{everything_once, fragments, item_of},
};

use crate::{report::Report, world::World};

/// `auto_explain`'s log of a statement (PostgreSQL, F.4).
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Explained {
    #[serde(rename = "Query Text")]
    text: String,
    plan: Node,
}

/// A node of a plan. Its blocks include those of the nodes below it.
#[derive(Deserialize)]
struct Node {
    #[serde(rename = "Node Type")]
    kind: String,
    #[serde(rename = "Relation Name")]
    relation: Option<String>,
    #[serde(rename = "Actual Total Time")]
    milliseconds: f64,
    #[serde(rename = "Actual Loops")]
    loops: f64,
    #[serde(rename = "Shared Hit Blocks")]
    hit: f64,
    #[serde(rename = "Shared Read Blocks")]
    read: f64,
    #[serde(rename = "Rows Removed by Filter", default)]
    filtered: f64,
    #[serde(rename = "Rows Removed by Join Filter", default)]
    unjoined: f64,
    #[serde(rename = "Plans", default)]
    below: Vec<Self>,
}

impl Node {
    /// Rows that were read and discarded, here and below.
    fn unwanted(&self) -> f64 {
        let here = (self.filtered + self.unjoined) * self.loops;
        here + self.below.iter().map(Self::unwanted).sum::<f64>()
    }

    /// The tables that are read whole, here and below.
    fn whole(&self, tables: &mut BTreeSet<String>) {
        if self.kind == "Seq Scan" && self.loops > 0.0 {
            tables.extend(self.relation.clone());
        }
        for node in &self.below {
            node.whole(tables);
        }
    }
}

/// The highest figures of a statement over all its executions.
#[derive(Default)]
struct Most {
    runs: usize,
    blocks: f64,
    unwanted: f64,
    milliseconds: f64,
    whole: BTreeSet<String>,
}

pub(crate) async fn measure(world: &World, report: &mut Report, out: &Path) {
    let url = world.url();
    if let Err(error) = explain_all(&url).await {
        eprintln!("plans: skipped, needs auto_explain of postgresql-contrib: {error}");
        return;
    }
    let system = System::start_on(&url).await;
    everything_once(&system).await;

    let log = fs::read(world.log()).expect("the server's log");
    let fragments = fragments();
    let mut statements = BTreeMap::<String, Most>::new();
    for explained in explained(&String::from_utf8_lossy(&log)) {
        let Some(item) = item_of(&fragments, &explained.text) else { continue };
        let (most, plan) = (statements.entry(item).or_default(), explained.plan);
        most.runs += 1;
        most.blocks = most.blocks.max(plan.hit + plan.read);
        most.unwanted = most.unwanted.max(plan.unwanted());
        most.milliseconds = most.milliseconds.max(plan.milliseconds);
        plan.whole(&mut most.whole);
    }
    let table = table(&statements);
    println!("\n{table}");
    fs::write(out.join("plans.txt"), table).expect("a file");

    let most = |figure: fn(&Most) -> f64| statements.values().map(figure).fold(0.0, f64::max);
    #[expect(clippy::cast_precision_loss, reason = "a few")]
    report.add("plans: statements".to_owned(), statements.len() as f64);
    report.add("plans: most blocks of one".to_owned(), most(|most| most.blocks));
    report.add("plans: most rows read in vain by one".to_owned(), most(|most| most.unwanted));
}

/// Makes the server explain the statements of new connections to this database.
async fn explain_all(url: &str) -> sqlx::Result<()> {
    let mut owner = PgConnection::connect(url).await?;
    // Fails here without the library: once it is set for the database, every connection would fail.
    sqlx::raw_sql("LOAD 'auto_explain'").execute(&mut owner).await?;
    for (setting, value) in [
        ("session_preload_libraries", "auto_explain"),
        ("auto_explain.log_min_duration", "0"),
        ("auto_explain.log_analyze", "on"),
        ("auto_explain.log_buffers", "on"),
        ("auto_explain.log_format", "json"),
    ] {
        let set = format!("ALTER DATABASE kinline SET {setting} = '{value}'");
        sqlx::raw_sql(AssertSqlSafe(set)).execute(&mut owner).await?;
    }
    Ok(())
}

/// The executed statements of a log.
fn explained(log: &str) -> Vec<Explained> {
    let mut explained = Vec::new();
    let mut lines = log.lines().peekable();
    while let Some(line) = lines.next() {
        if !line.ends_with("plan:") {
            continue;
        }
        // Continued lines are indented by a tab (PostgreSQL, 20.8).
        let mut json = String::new();
        while let Some(line) = lines.next_if(|line| line.starts_with('\t')) {
            json.push_str(line);
        }
        explained.push(serde_json::from_str(&json).expect("a plan"));
    }
    assert!(!explained.is_empty(), "the server has explained nothing");
    explained
}

/// A table of the statements, the most expensive first.
fn table(statements: &BTreeMap<String, Most>) -> String {
    let mut sorted: Vec<_> = statements.iter().collect();
    sorted.sort_by(|(_, a), (_, b)| b.blocks.total_cmp(&a.blocks));
    let mut table = format!(
        "{:<40} {:>5} {:>8} {:>10} {:>9}  {}\n",
        "statement, at most", "runs", "blocks", "in vain", "ms", "read from end to end"
    );
    for (item, most) in sorted {
        let whole = most.whole.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
        let Most { runs, blocks, unwanted, milliseconds, .. } = most;
        let row =
            format!("{item:<40} {runs:>5} {blocks:>8} {unwanted:>10} {milliseconds:>9.3}  {whole}");
        writeln!(table, "{}", row.trim_end()).expect("a row");
    }
    table
}
