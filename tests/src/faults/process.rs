//! The functions as processes that can be killed, frozen and thawed.

use std::{os::unix::process::ExitStatusExt, process::Stdio, time::Duration};

use local::secrets::TokenClaims;
use serde_json::{Value, json};
use tokio::{
    process::Command,
    time::{self, Instant},
};

use super::trial::key;
use crate::{
    System,
    events::http_event,
    lambda::{Function, FunctionError, binary},
    system::FAMILY,
};

/// The functions' time-out in the template.
pub(super) const TIMEOUT: Duration = Duration::from_secs(30);
/// SIGKILL.
const KILL: i32 = 9;
/// Interval of checks on a process, and the longest wait.
const PAUSE: Duration = Duration::from_millis(2);
const PATIENCE: Duration = Duration::from_secs(20);

/// Starts a worker, with a failpoint if there is one.
pub(super) async fn worker(system: &System, failpoint: Option<&str>) -> Function {
    let url = system.database_url();
    start(system, "worker", url, "kinline_worker", failpoint).await
}

/// Starts the function that serves posts, on the database at `database_url`; see [`worker`].
pub(super) async fn messages(
    system: &System,
    database_url: &str,
    failpoint: Option<&str>,
) -> Function {
    start(system, "messages", database_url, "kinline_app", failpoint).await
}

async fn start(
    system: &System,
    name: &str,
    database_url: &str,
    role: &str,
    failpoint: Option<&str>,
) -> Function {
    let mut environment = system.environment(database_url, role);
    // More posts and SMS than members and families usually have.
    environment.push(("KINLINE_POSTS_PER_HOUR", "0".to_owned()));
    environment.push(("KINLINE_SMS_PER_MINUTE", "0".to_owned()));
    environment.extend(failpoint.map(|failpoint| ("KINLINE_FAILPOINT", failpoint.to_owned())));
    Function::start(&binary(name), &environment).await
}

/// Whether a call ended because its process was killed.
pub(super) fn was_killed(called: &Result<Value, FunctionError>) -> bool {
    let Err(FunctionError::Exited { status, .. }) = called else { return false };
    status.signal() == Some(KILL)
}

/// API Gateway's event for a post by `u0`, with its text as the idempotency key.
pub(super) fn post_event(system: &System, thread: &str, text: &str) -> Value {
    let claims = TokenClaims::member(FAMILY, "u0");
    let bearer = format!("Bearer {}", system.secrets().token(&claims).expect("a token"));
    let headers = [
        ("authorization", bearer.as_str()),
        ("content-type", "application/json"),
        ("idempotency-key", &key(text)),
    ];
    let body = json!({ "body": text }).to_string();
    http_event("POST", &format!("/threads/{thread}/messages"), &headers, Some(body.as_bytes()))
}

/// Waits until a process is frozen.
///
/// # Panics
/// If it is not frozen within 20 s: its binary has no failpoints, or never reached this one.
pub(super) async fn frozen(pid: u32) {
    let deadline = Instant::now() + PATIENCE;
    while state(pid).await != Some('T') {
        assert!(Instant::now() < deadline, "process {pid} was never stopped");
        time::sleep(PAUSE).await;
    }
}

/// Resumes a frozen process.
pub(super) async fn thaw(pid: u32) {
    // The shell's own `kill`, since small systems lack the program of that name.
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "kill -s CONT \"$1\"", "sh", &pid.to_string()]);
    let status = command.status().await.expect("a shell");
    assert!(status.success(), "process {pid} is gone");
}

/// The state of a process as one letter: from Linux's `/proc`, elsewhere from `ps`.
async fn state(pid: u32) -> Option<char> {
    if let Ok(stat) = tokio::fs::read_to_string(format!("/proc/{pid}/stat")).await {
        // After the name, which is in parentheses and may hold any character (proc(5)).
        return stat.rsplit_once(") ")?.1.chars().next();
    }
    let mut command = Command::new("ps");
    command.args(["-o", "state=", "-p", &pid.to_string()]).stderr(Stdio::null());
    let output = command.output().await.ok()?;
    String::from_utf8_lossy(&output.stdout).trim().chars().next()
}
