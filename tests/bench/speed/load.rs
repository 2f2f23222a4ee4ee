//! Load by wrk: requests as fast as they are answered.

use std::{fmt::Write, fs, path::PathBuf, process::Command, time::Duration};

use reqwest::Method;
use serde::Deserialize;
use tempfile::TempDir;

use crate::process;

/// Duration and number of measurements.
#[derive(Clone, Copy)]
pub(crate) struct Effort {
    pub(crate) time: Duration,
    pub(crate) rounds: usize,
}

/// A request.
pub(crate) struct Request {
    pub(crate) method: Method,
    /// The path with its query.
    pub(crate) path: String,
    pub(crate) token: String,
    /// JSON on one line; empty for a request without a body.
    pub(crate) body: String,
}

/// Requests that are sent in turn.
pub(crate) struct Load {
    url: String,
    script: PathBuf,
    _folder: TempDir,
}

/// The result of a measurement.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Run {
    /// Requests a second.
    pub(crate) rate: f64,
    /// Median time of a request, in milliseconds.
    pub(crate) p50: f64,
    /// The 99th percentile, in milliseconds.
    pub(crate) p99: f64,
    /// CPU time of the server's process per request, in microseconds.
    pub(crate) cpu: f64,
}

#[derive(Deserialize)]
struct Summary {
    requests: u64,
    micros: u64,
    p50: u64,
    p99: u64,
    bad: u64,
}

const SCRIPT: &str = r#"
local all, next = {}, 0
function init(args)
    for line in io.lines(args[1]) do
        local method, path, token, body = line:match("^(%S+) (%S+) (%S+) ?(.*)$")
        local headers = { authorization = "Bearer " .. token }
        if body == "" then body = nil else headers["content-type"] = "application/json" end
        all[#all + 1] = wrk.format(method, path, headers, body)
    end
end
function request()
    next = next % #all + 1
    return all[next]
end
function done(summary, latency)
    local e = summary.errors
    io.write(string.format('{"requests":%d,"micros":%d,"p50":%d,"p99":%d,"bad":%d}\n',
        summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
        e.connect + e.read + e.write + e.status + e.timeout))
end
"#;

impl Load {
    pub(crate) fn new(url: &str, requests: &[Request]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let script = folder.path().join("load.lua");
        fs::write(&script, SCRIPT).expect("a script");
        let mut lines = String::new();
        for Request { method, path, token, body } in requests {
            writeln!(lines, "{method} {path} {token} {body}").expect("a line");
        }
        fs::write(folder.path().join("requests"), lines).expect("requests");
        Self { url: url.to_owned(), script, _folder: folder }
    }

    /// Sends them on a number of connections to the server in the process `pid`.
    ///
    /// # Panics
    /// If any of them fails.
    pub(crate) fn run(&self, connections: usize, time: Duration, pid: u32) -> Run {
        let before = process::cpu(pid);
        let output = Command::new("wrk")
            .args(["--threads", "1", "--timeout", "30s", "--latency"])
            .args(["--connections", &connections.to_string()])
            .args(["--duration", &format!("{}s", time.as_secs())])
            .arg("--script")
            .args([&self.script, &PathBuf::from(&self.url)])
            .arg(self.script.with_file_name("requests"))
            .output()
            .expect("wrk");
        let cpu = process::cpu(pid) - before;
        let said = String::from_utf8_lossy(&output.stdout);
        let summary = said.lines().find(|line| line.starts_with('{'));
        let summary: Summary = summary
            .and_then(|line| serde_json::from_str(line).ok())
            .unwrap_or_else(|| panic!("wrk: {said}{}", String::from_utf8_lossy(&output.stderr)));
        assert_eq!(summary.bad, 0, "requests failed: {said}");
        #[expect(clippy::cast_precision_loss, reason = "counts of a few seconds")]
        let [requests, micros, p50, p99] =
            [summary.requests, summary.micros, summary.p50, summary.p99].map(|count| count as f64);
        Run {
            rate: requests / micros * 1e6,
            p50: p50 / 1e3,
            p99: p99 / 1e3,
            cpu: cpu * 1e6 / requests,
        }
    }
}

/// The median.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// The median of each figure over several measurements.
pub(crate) fn middle(runs: &[Run]) -> Run {
    let of = |figure: fn(&Run) -> f64| median(runs.iter().map(figure).collect());
    Run {
        rate: of(|run| run.rate),
        p50: of(|run| run.p50),
        p99: of(|run| run.p99),
        cpu: of(|run| run.cpu),
    }
}
