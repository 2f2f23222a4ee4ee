//! The database's time for the one statement that a request can't do without, by pgbench.

use std::{fs, process::Command, time::Duration};

use tempfile::TempDir;

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
    pub(crate) fn run(&self, url: &str, clients: usize, time: Duration) -> Run {
        let folder = self.folder.path();
        let output = Command::new("pgbench")
            .args(["--no-vacuum", "--jobs=1", "--log"])
            .arg(format!("--protocol={}", self.protocol))
            .args([format!("--client={clients}"), format!("--time={}", time.as_secs())])
            .arg(format!("--log-prefix={}", folder.join("log").display()))
            .args(
                (0..self.count)
                    .map(|i| format!("--file={}", folder.join(format!("{i}.sql")).display())),
            )
            .arg(url)
            .output()
            .expect("pgbench");
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

/// Finds a thread by its members.
pub(crate) fn resolve(family: &str, member_key: &str) -> String {
    format!(
        "SELECT * FROM threads
         WHERE family_id = '{family}' AND kind = 'FAMILY' AND member_key = '{member_key}'
           AND NOT is_distinct"
    )
}

/// Inserts a message with its number, and reads the other members.
pub(crate) fn post(family: &str, thread: &str, author: &str) -> String {
    format!(
        "WITH numbered AS (
             UPDATE threads SET last_seq = last_seq + 1, last_message_at = now()
             WHERE family_id = '{family}' AND thread_id = '{thread}'
             RETURNING last_seq
         ), posted AS (
             INSERT INTO messages (family_id, thread_id, seq, message_id, author_id, body, queued_count, created_at)
             SELECT '{family}', '{thread}', last_seq, gen_random_uuid(), '{author}',
                    'Bring the albums on Sunday, will you?', 1, now()
             FROM numbered
             RETURNING message_id
         )
         SELECT message_id, tm.user_id
         FROM posted, thread_members tm
         WHERE tm.family_id = '{family}' AND tm.thread_id = '{thread}' AND tm.user_id <> '{author}'
           AND tm.status = 'active'"
    )
}
