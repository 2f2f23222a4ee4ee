//! The database's time for the one statement that a request can't do without, by pgbench.

use std::{fs, path::Path, process::Command, time::Duration};

use tempfile::TempDir;

use crate::{process, world::World};

/// Scripts with one statement each, which run in random order.
pub(crate) struct Statements {
    folder: TempDir,
    count: usize,
    protocol: &'static str,
}

/// The result of a run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Run {
    /// Statements a second.
    pub(crate) rate: f64,
    /// Median time of a statement, in milliseconds.
    pub(crate) p50: f64,
    /// CPU time of PostgreSQL per statement, in microseconds.
    pub(crate) cpu: f64,
}

impl Statements {
    /// At most twenty, since each is planned once per connection, which is not to be measured.
    pub(crate) fn new(statements: impl Iterator<Item = String>) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut count = 0;
        for (i, statement) in statements.take(20).enumerate() {
            // pgbench reads a statement up to a semicolon.
            let script =
                format!("{};\n", statement.split_whitespace().collect::<Vec<_>>().join(" "));
            fs::write(folder.path().join(format!("{i}.sql")), script).expect("a script");
            count += 1;
        }
        Self { folder, count, protocol: "prepared" }
    }

    /// The begin of a family's transaction, in one round trip as the API sends it, and its end.
    pub(crate) fn begin() -> Self {
        let settings = [
            "statement_timeout = '10s'",
            "lock_timeout = '2s'",
            "idle_in_transaction_session_timeout = '10s'",
            "plan_cache_mode = force_generic_plan",
            "app.family_id = 'fam'",
        ];
        let settings = settings.map(|setting| format!("SET LOCAL {setting}")).join(r"\; ");
        let script = std::iter::once(format!(r"BEGIN\; {settings}\; COMMIT"));
        // Several statements in one message can't be prepared.
        Self { protocol: "simple", ..Self::new(script) }
    }

    /// Runs them on a number of connections.
    pub(crate) fn run(&self, world: &World, clients: usize, time: Duration) -> Run {
        let folder = self.folder.path();
        let before = process::postgres_cpu(world.postmaster());
        let output = Command::new("pgbench")
            .args(["--no-vacuum", "--jobs=1", "--log"])
            .arg(format!("--protocol={}", self.protocol))
            .args([format!("--client={clients}"), format!("--time={}", time.as_secs())])
            .arg(format!("--log-prefix={}", folder.join("log").display()))
            .args(
                (0..self.count)
                    .map(|i| format!("--file={}", folder.join(format!("{i}.sql")).display())),
            )
            .arg(world.url())
            .output()
            .expect("pgbench");
        let cpu = process::postgres_cpu(world.postmaster()) - before;
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "pgbench: {said}");
        let mut times = Vec::new();
        for entry in fs::read_dir(folder).expect("a folder").flatten() {
            if !entry.file_name().to_string_lossy().starts_with("log") {
                continue;
            }
            let log = fs::read_to_string(entry.path()).expect("a log");
            // client, transaction, microseconds, …
            times
                .extend(log.lines().filter_map(|line| line.split(' ').nth(2)?.parse::<u64>().ok()));
            fs::remove_file(entry.path()).expect("removed");
        }
        assert!(!times.is_empty(), "pgbench did nothing: {said}");
        times.sort_unstable();
        #[expect(clippy::cast_precision_loss, reason = "counts of a few seconds")]
        Run {
            rate: times.len() as f64 / time.as_secs_f64(),
            p50: times[times.len() / 2] as f64 / 1e3,
            cpu: cpu * 1e6 / times.len() as f64,
        }
    }
}

/// A page of history, without checking membership.
pub(crate) fn history(family: &str, thread: &str) -> String {
    format!(
        "SELECT m.*, u.name AS author_name FROM messages m
         JOIN users u ON u.family_id = m.family_id AND u.user_id = m.author_id
         WHERE m.family_id = '{family}' AND m.thread_id = '{thread}'
         ORDER BY m.seq DESC LIMIT 51"
    )
}

/// The messages of a page: a range of one index, without a join. The login is a superuser, who has no
/// policies.
pub(crate) fn range(thread: &str) -> String {
    format!(
        "SELECT message_id, thread_id, seq, author_id, body, file_ids, reply_to_id, created_at,
                edited_at, deleted_at
         FROM messages WHERE thread_id = '{thread}' ORDER BY seq DESC LIMIT 51"
    )
}

/// Finds a thread by its members.
pub(crate) fn resolve(family: &str, member_key: &str) -> String {
    format!(
        "SELECT * FROM threads
         WHERE family_id = '{family}' AND kind = 'FAMILY' AND member_key = '{member_key}'
           AND NOT is_distinct"
    )
}

/// The statement of a post that the schema needs at least, in `tests/bench/post.sql`. Read when it runs, so
/// that this program can also be built from a commit with another schema, as a baseline.
pub(crate) fn post(family: &str, thread: &str, author: &str) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("bench/post.sql");
    let statement = fs::read_to_string(&file).unwrap_or_else(|error| {
        panic!("{}: {error}", file.display());
    });
    let lines = statement.lines().filter(|line| !line.starts_with("--"));
    lines
        .collect::<Vec<_>>()
        .join("\n")
        .replace(":family", &format!("'{family}'"))
        .replace(":thread", &format!("'{thread}'"))
        .replace(":author", &format!("'{author}'"))
}
