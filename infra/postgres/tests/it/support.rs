//! Helpers of this crate's tests: folders, processes, and waiting for a condition.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// A temporary folder that the server's account can pass through.
pub(crate) fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
    folder
}

/// Waits until the condition holds; panics after 15 s.
pub(crate) fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(15);
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Pid and command line of every process that has the text in its command line.
pub(crate) fn processes(text: &str) -> Vec<(String, String)> {
    let output = Command::new("ps").args(["-axww", "-o", "pid=,command="]).output().unwrap();
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter(|line| line.contains(text))
        .filter_map(|line| line.trim().split_once(' '))
        .map(|(pid, command)| (pid.to_owned(), command.to_owned()))
        .collect()
}

/// Whether any process still uses the folder.
pub(crate) fn in_use(folder: &Path) -> bool {
    !processes(folder.to_str().unwrap()).is_empty()
}

/// Starts this test program again in another process, which runs one of its ignored tests.
pub(crate) fn another_process(test: &str, folder: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--ignored", "--nocapture"])
        .env("KINLINE_TEST_FOLDER", folder)
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

/// The folder that `another_process` gave to this one.
pub(crate) fn given_folder() -> std::path::PathBuf {
    std::env::var_os("KINLINE_TEST_FOLDER").unwrap().into()
}

/// Sends SIGKILL to each.
pub(crate) fn kill(pids: impl IntoIterator<Item = String>) {
    for pid in pids {
        // It may be gone already.
        let _ = Command::new("/bin/sh")
            .args(["-c", "kill -s KILL \"$1\"", "sh", &pid])
            .stderr(Stdio::null())
            .status();
    }
}
