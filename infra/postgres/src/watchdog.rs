//! Runs a program that dies with this process, even if this process is killed.

use std::ffi::OsString;
use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::Error;
use crate::account::Account;

/// How often a child is looked at while it is waited for.
const PAUSE: Duration = Duration::from_millis(10);
/// The script itself needs 2.5 s at most; past this, something is wrong with it.
const PATIENCE: Duration = Duration::from_secs(4);

/// What to run.
pub(crate) struct Job<'a> {
    pub(crate) program: &'a Path,
    pub(crate) args: Vec<OsString>,
    /// The working folder.
    pub(crate) folder: &'a Path,
    /// Where its output goes.
    pub(crate) log: File,
    pub(crate) account: Option<Account>,
    /// A folder to remove once the program was told to stop: then nothing in it is worth an orderly end.
    pub(crate) remove: Option<&'a Path>,
}

/// A running program and the pipe it lives by. Dropping it stops the program and waits for that, 4 s at most.
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
            // Messages are looked at and shown: keep them in one language.
            .env("LC_ALL", "C")
            // The standard library closes this pipe's end in every other child (close-on-exec).
            .stdin(Stdio::piped())
            .stdout(job.log)
            .stderr(errors)
            // Ctrl-C in a terminal goes to the group in front; this one is stopped in order, by the pipe.
            .process_group(0);
        if let Some(account) = job.account {
            account.apply(&mut command);
        }
        let mut script = command.spawn().map_err(Error::io(doing))?;
        let pipe = script.stdin.take();
        Ok(Self { script, pipe })
    }

    /// How the program ended, if it did.
    pub(crate) fn ended(&mut self) -> Result<Option<ExitStatus>, Error> {
        self.script.try_wait().map_err(Error::io(|| "look after the server".to_owned()))
    }

    /// Waits for the program to end by itself.
    pub(crate) async fn wait(&mut self) -> Result<ExitStatus, Error> {
        loop {
            if let Some(status) = self.ended()? {
                return Ok(status);
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Stops the program: in order first, then by force. Returns when it is gone.
    pub(crate) async fn stop(mut self) -> Result<(), Error> {
        drop(self.pipe.take());
        if tokio::time::timeout(PATIENCE, self.wait()).await.is_err() {
            self.kill();
        }
        Ok(())
    }

    fn kill(&mut self) {
        signal(&format!("-{}", self.script.id()), "KILL");
        // Nothing is left to do if even this fails.
        let _ = self.script.wait();
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        drop(self.pipe.take());
        let deadline = Instant::now() + PATIENCE;
        while let Ok(None) = self.script.try_wait() {
            if Instant::now() > deadline {
                self.kill();
            }
            std::thread::sleep(PAUSE);
        }
    }
}

/// Sends a signal to a process, or to a group if the number is negative. Whether it arrived.
///
/// The shell's own `kill`, since the program of that name is missing on small systems.
pub(crate) fn signal(process: &str, name: &str) -> bool {
    Command::new("/bin/sh")
        .args(["-c", "kill -s \"$1\" -- \"$2\"", "sh", name, process])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}
