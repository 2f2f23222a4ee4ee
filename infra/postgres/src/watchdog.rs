//! Runs a program that ends with this process, even if this process is killed.

use std::ffi::OsString;
use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::Error;
use crate::account::Account;

/// Interval of checks on a child that is waited for.
const POLL_INTERVAL: Duration = Duration::from_millis(10);
/// Time for the script to stop the program. It needs 2.5 s at most; then it is killed.
const STOP_LIMIT: Duration = Duration::from_secs(4);

/// A program to run.
pub(crate) struct Job<'a> {
    pub(crate) program: &'a Path,
    pub(crate) args: Vec<OsString>,
    /// The working folder.
    pub(crate) folder: &'a Path,
    /// The file for its output.
    pub(crate) log: File,
    pub(crate) account: Option<Account>,
    /// A folder to remove when the program has stopped, which then needs no orderly end.
    pub(crate) remove: Option<&'a Path>,
}

/// A running program and the pipe whose closing stops it. Dropping it stops the program and waits, 4 s
/// at most.
pub(crate) struct Watchdog {
    script: Child,
    pipe: Option<ChildStdin>,
}

impl Watchdog {
    pub(crate) fn start(job: Job<'_>) -> Result<Self, Error> {
        let doing = || format!("start {}", job.program.display());
        let errors = job.log.try_clone().map_err(Error::io(doing))?;
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", include_str!("watchdog.sh"), "kinline-watchdog"])
            .arg(if job.remove.is_some() { "QUIT" } else { "INT" })
            .arg(job.remove.unwrap_or(Path::new("")))
            .arg(job.program)
            .args(job.args)
            .current_dir(job.folder)
            // Messages are parsed and shown: keep them in one language.
            .env("LC_ALL", "C")
            // The standard library closes this pipe's end in every other child (close-on-exec).
            .stdin(Stdio::piped())
            .stdout(job.log)
            .stderr(errors)
            // Ctrl-C in a terminal signals the foreground group; this program is stopped by the pipe.
            .process_group(0);
        if let Some(account) = job.account {
            account.apply(&mut command);
        }
        let mut script = command.spawn().map_err(Error::io(doing))?;
        let pipe = script.stdin.take();
        Ok(Self { script, pipe })
    }

    /// The program's exit status, if it has ended.
    pub(crate) fn ended(&mut self) -> Result<Option<ExitStatus>, Error> {
        self.script.try_wait().map_err(Error::io(|| "wait for the server".to_owned()))
    }

    /// Waits for the program to end by itself.
    pub(crate) async fn wait(&mut self) -> Result<ExitStatus, Error> {
        loop {
            if let Some(status) = self.ended()? {
                return Ok(status);
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    /// Stops the program: orderly first, then by force. Returns when it is gone.
    pub(crate) async fn stop(mut self) -> Result<(), Error> {
        drop(self.pipe.take());
        if tokio::time::timeout(STOP_LIMIT, self.wait()).await.is_err() {
            self.kill();
        }
        Ok(())
    }

    fn kill(&mut self) {
        signal(&format!("-{}", self.script.id()), "KILL");
        // If even this fails, there is nothing left to try.
        let _ = self.script.wait();
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        drop(self.pipe.take());
        let deadline = Instant::now() + STOP_LIMIT;
        while let Ok(None) = self.script.try_wait() {
            if Instant::now() > deadline {
                self.kill();
            }
            std::thread::sleep(POLL_INTERVAL);
        }
    }
}

/// Sends a signal to a process, or to a group if the number is negative; returns whether it arrived.
///
/// Uses the shell's own `kill`, since small systems lack the program of that name.
pub(crate) fn signal(process: &str, name: &str) -> bool {
    Command::new("/bin/sh")
        .args(["-c", "kill -s \"$1\" -- \"$2\"", "sh", name, process])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}
