//! Load by wrk: requests as fast as they are answered. And a client for a given number of them.

use std::{
    fmt::Write as _,
    fs,
    io::{BufRead, BufReader, Read, Write as _},
    net::TcpStream,
    path::PathBuf,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use reqwest::Method;
use serde::Deserialize;
use tempfile::TempDir;

use crate::api::Served;

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
    /// CPU time of all processes of PostgreSQL per request, in microseconds.
    pub(crate) postgres: f64,
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
    pub(crate) fn new(requests: &[Request]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let script = folder.path().join("load.lua");
        fs::write(&script, SCRIPT).expect("a script");
        let mut lines = String::new();
        for Request { method, path, token, body } in requests {
            writeln!(lines, "{method} {path} {token} {body}").expect("a line");
        }
        fs::write(folder.path().join("requests"), lines).expect("requests");
        Self { script, _folder: folder }
    }

    /// Sends them on a number of connections to the API.
    ///
    /// # Panics
    /// If any of them fails.
    pub(crate) fn run(&self, connections: usize, time: Duration, to: &Served) -> Run {
        let before = to.cpu();
        let output = Command::new("wrk")
            .args(["--threads", "1", "--timeout", "30s", "--latency"])
            .args(["--connections", &connections.to_string()])
            .args(["--duration", &format!("{}s", time.as_secs())])
            .arg("--script")
            .args([&self.script, &PathBuf::from(&to.url)])
            .arg(self.script.with_file_name("requests"))
            .output()
            .expect("wrk");
        let after = to.cpu();
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
            cpu: (after.0 - before.0) * 1e6 / requests,
            postgres: (after.1 - before.1) * 1e6 / requests,
        }
    }
}

/// A connection that sends one request after the other.
pub(crate) struct Client(BufReader<TcpStream>);

impl Client {
    pub(crate) fn of(served: &Served) -> Self {
        let stream = TcpStream::connect(served.url.trim_start_matches("http://")).expect("the API");
        stream.set_nodelay(true).expect("no delay");
        Self(BufReader::new(stream))
    }

    /// Sends a request; returns the response's body.
    ///
    /// # Panics
    /// If it fails.
    pub(crate) fn send(&mut self, request: &Request) -> String {
        let Request { method, path, token, body } = request;
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        self.0.get_mut().write_all(head.as_bytes()).expect("sent");
        let (mut length, mut line, mut status) = (0, String::new(), String::new());
        loop {
            line.clear();
            assert!(self.0.read_line(&mut line).expect("a response") > 0, "no response");
            if status.is_empty() {
                line.trim().clone_into(&mut status);
            } else if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().expect("a length");
            } else if line.trim().is_empty() {
                break;
            }
        }
        let mut answer = vec![0; length];
        self.0.read_exact(&mut answer).expect("a body");
        let answer = String::from_utf8(answer).expect("text");
        assert!(status.starts_with("HTTP/1.1 2"), "{method} {path}: {status}\n{answer}");
        answer
    }
}

/// Sends `count` of the requests, which repeat in turn, on eight connections.
pub(crate) fn send(served: &Served, requests: &[Request], count: usize) {
    const CONNECTIONS: usize = 8;
    thread::scope(|scope| {
        for first in 0..CONNECTIONS {
            scope.spawn(move || {
                let mut client = Client::of(served);
                for i in (first..count).step_by(CONNECTIONS) {
                    client.send(&requests[i % requests.len()]);
                }
            });
        }
    });
}

/// Sends the requests one by one, each as often as the others, in random order; returns the median time of
/// each, in milliseconds. Whatever slows the machine for a while slows all of them.
pub(crate) fn in_turns(served: &Served, requests: &[&Request], time: Duration) -> Vec<f64> {
    let (mut client, mut random) = (Client::of(served), fastrand::Rng::with_seed(1));
    let mut order: Vec<usize> = (0..requests.len()).collect();
    let mut times = vec![Vec::new(); requests.len()];
    let began = Instant::now();
    while began.elapsed() < time {
        random.shuffle(&mut order);
        for &i in &order {
            let sent = Instant::now();
            client.send(requests[i]);
            times[i].push(sent.elapsed().as_secs_f64() * 1e3);
        }
    }
    times.into_iter().map(median).collect()
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
        postgres: of(|run| run.postgres),
    }
}
