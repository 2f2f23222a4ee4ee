//! `cargo run` as a process: starts, keeps its data, stops cleanly, and survives a kill.

#![expect(clippy::expect_used, reason = "a panic is how a test says no")]

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Child, ChildStdout, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use tempfile::TempDir;

/// A part of the banner's last line, and of the last line of what to try.
const WITHOUT_DEMO: &str = "  Data ";
const WITH_DEMO: &str = "-d '{\"body\"";

/// A running stack.
struct Kinline {
    process: Child,
    output: BufReader<ChildStdout>,
    /// Its output until it was running.
    said: String,
}

fn command(data: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kinline"));
    command.arg("--data-dir").arg(data).args(args);
    for name in
        ["DATABASE_URL", "KINLINE_PORT", "KINLINE_FRESH", "KINLINE_NO_DEMO", "KINLINE_PUBLIC_URL"]
    {
        command.env_remove(name);
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

impl Kinline {
    fn start(data: &Path, args: &[&str]) -> Self {
        let last = if args.contains(&"--no-demo") { WITHOUT_DEMO } else { WITH_DEMO };
        Self::wait_for(command(data, args), last)
    }

    /// Starts one and waits for its line that contains `last`.
    fn wait_for(mut command: Command, last: &str) -> Self {
        let mut process = command.spawn().expect("a process");
        let mut output = BufReader::new(process.stdout.take().expect("its output"));
        let mut said = String::new();
        while !said.contains(last) {
            let mut line = String::new();
            if output.read_line(&mut line).expect("a line") == 0 {
                let mut complaint = String::new();
                let mut errors = process.stderr.take().expect("its errors");
                errors.read_to_string(&mut complaint).expect("text");
                panic!("it stopped: {said}{complaint}");
            }
            said.push_str(&line);
        }
        Self { process, output, said }
    }

    /// The address after a label of the banner.
    fn address(&self, label: &str) -> String {
        let line = self.said.lines().find(|line| line.trim_start().starts_with(label));
        let line = line.unwrap_or_else(|| panic!("{label} in {}", self.said));
        line.split_whitespace()
            .find(|word| word.starts_with("http"))
            .expect("an address")
            .to_owned()
    }

    fn sms_count(&self) -> usize {
        http_get(&format!("{}/dev/sms", self.address("API"))).matches("\"messageId\"").count()
    }

    fn signal(&self, name: &str) {
        let pid = self.process.id().to_string();
        let sent = Command::new("kill").args(["-s", name, &pid]).status().expect("kill");
        assert!(sent.success());
    }

    /// Waits for its end; returns its status, how long that took, and the rest of its output.
    fn wait(mut self) -> (ExitStatus, Duration, String) {
        let began = Instant::now();
        let status = self.process.wait().expect("an end");
        let took = began.elapsed();
        let mut rest = String::new();
        self.output.read_to_string(&mut rest).expect("the rest");
        (status, took, rest)
    }
}

impl Drop for Kinline {
    fn drop(&mut self) {
        let _ended_already = self.process.kill();
        let _ended_already = self.process.wait();
    }
}

/// A folder that PostgreSQL can reach when it runs as another user, too.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o711)).expect("opened");
    folder
}

fn http_get(url: &str) -> String {
    let output = Command::new("curl").args(["-s", "--max-time", "10", url]).output().expect("curl");
    String::from_utf8(output.stdout).expect("text")
}

/// Command lines of the processes that name `folder` in their arguments.
fn processes_of(folder: &Path) -> Vec<String> {
    let folder = folder.canonicalize().expect("a folder").display().to_string();
    let output = Command::new("ps").args(["-A", "-ww", "-o", "args="]).output().expect("ps");
    let all = String::from_utf8_lossy(&output.stdout).into_owned();
    all.lines().filter(|line| line.contains(&folder)).map(str::to_owned).collect()
}

/// Waits until no process names `folder`.
fn wait_until_unused(folder: &Path) {
    let began = Instant::now();
    loop {
        let left = processes_of(folder);
        if left.is_empty() {
            return;
        }
        assert!(began.elapsed() < Duration::from_secs(10), "left behind: {left:?}");
        std::thread::yield_now();
    }
}

#[test]
fn it_starts_everything_keeps_its_data_and_leaves_nothing_behind() {
    let folder = folder();
    let data = folder.path().join("data");
    let first = Kinline::start(&data, &["--port", "0"]);
    assert!(first.said.lines().count() <= 24, "under a screen: {}", first.said);
    assert!(http_get(&format!("{}/health", first.address("API"))).contains("\"status\":\"ok\""));
    assert!(http_get(&first.address("Phone wall")).starts_with("<!doctype html"));
    // Three messages, three recipients each.
    assert_eq!(first.sms_count(), 9, "the demo's SMS have arrived");
    let wall = http_get(&format!("{}/dev/wall.json", first.address("API")));
    assert_eq!(wall.matches("\"userId\"").count(), 4);
    first.signal("INT");
    let (status, took, said) = first.wait();
    assert!(status.success() && said.contains("stopped"), "{status}: {said}");
    assert!(took < Duration::from_secs(3), "{took:?}");
    assert_eq!(processes_of(folder.path()), Vec::<String>::new());

    // Again: the data is there, and no SMS is sent twice. SIGTERM ends it as well.
    let again = Kinline::start(&data, &["--port", "0"]);
    assert_eq!(again.sms_count(), 9);
    again.signal("TERM");
    let (status, took, _) = again.wait();
    assert!(status.success() && took < Duration::from_secs(3), "{status} {took:?}");
    assert_eq!(processes_of(folder.path()), Vec::<String>::new());

    // The environment sets the same as the flags.
    let mut fresh = command(&data, &["--port", "0"]);
    fresh.env("KINLINE_FRESH", "1").env("KINLINE_NO_DEMO", "yes");
    let fresh = Kinline::wait_for(fresh, WITHOUT_DEMO);
    assert_eq!(fresh.sms_count(), 0);
    assert!(!http_get(&format!("{}/dev/wall.json", fresh.address("API"))).contains("userId"));
}

#[test]
fn a_kill_leaves_nothing_that_stops_the_next_start() {
    let folder = folder();
    let data = folder.path().join("data");
    let mut first = Kinline::start(&data, &["--port", "0"]);
    let count = first.sms_count();
    first.process.kill().expect("SIGKILL");
    first.process.wait().expect("an end");
    // At once: PostgreSQL may still be on its way down.
    let second = Kinline::start(&data, &["--port", "0"]);
    assert_eq!(second.sms_count(), count);
    drop(second);
    wait_until_unused(folder.path());
}

#[test]
fn a_private_folder_of_root_is_good_enough() {
    // As `mktemp -d` makes it: where this process is root, PostgreSQL's user can't pass through.
    let folder = folder();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700)).expect("closed");
    let data = folder.path().join("data");
    let first = Kinline::start(&data, &["--port", "0"]);
    assert_eq!(first.sms_count(), 9);
    first.signal("TERM");
    assert!(first.wait().0.success());
    let again = Kinline::start(&data, &["--port", "0"]);
    assert_eq!(again.sms_count(), 9);
    again.signal("TERM");
    assert!(again.wait().0.success());
    let fresh = Kinline::start(&data, &["--port", "0", "--fresh", "--no-demo"]);
    assert_eq!(fresh.sms_count(), 0);
    fresh.signal("TERM");
    let outside = fresh.said.split("its data goes to ").nth(1).and_then(|rest| rest.lines().next());
    let outside = outside.map(str::to_owned);
    assert!(fresh.wait().0.success());
    if let Some(outside) = outside {
        fs::remove_dir_all(outside).expect("removed");
    }
}

#[test]
fn two_stacks_run_side_by_side_but_not_on_one_port_or_in_one_folder() {
    let folder = folder();
    let (one, two) = (folder.path().join("one"), folder.path().join("two"));
    let first = Kinline::start(&one, &["--port", "0"]);
    let second = Kinline::start(&two, &["--port", "0", "--no-demo"]);
    assert_ne!(first.address("API"), second.address("API"));
    assert_eq!((first.sms_count(), second.sms_count()), (9, 0));

    let refused = command(&one, &["--port", "0"]).output().expect("an end");
    let complaint = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success());
    assert!(complaint.contains(&first.process.id().to_string()), "{complaint}");
    assert!(complaint.contains("--data-dir"), "{complaint}");

    let taken = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let port = taken.local_addr().expect("an address").port().to_string();
    let refused =
        command(&folder.path().join("three"), &["--port", &port]).output().expect("an end");
    let complaint = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success());
    assert!(complaint.contains(&format!("port {port} is in use")), "{complaint}");
    assert!(complaint.contains("--port"), "{complaint}");
}

#[test]
fn help_names_every_flag_and_its_variable() {
    let help = command(Path::new("/nowhere"), &["--help"]).output().expect("an end");
    let text = String::from_utf8_lossy(&help.stdout).into_owned();
    assert!(help.status.success());
    for word in [
        "--port",
        "--data-dir",
        "--fresh",
        "--no-demo",
        "KINLINE_PORT",
        "KINLINE_DATA_DIR",
        "KINLINE_FRESH",
        "KINLINE_NO_DEMO",
        "KINLINE_PUBLIC_URL",
        "DATABASE_URL",
    ] {
        assert!(text.contains(word), "{word} in {text}");
    }
}
