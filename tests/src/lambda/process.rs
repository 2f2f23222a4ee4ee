//! A child process with its output and its end.

use std::{
    io,
    process::{ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError},
};

use tokio::{
    io::{AsyncBufReadExt, AsyncRead, BufReader},
    process::{Child, Command},
    sync::{Notify, SetOnce},
    task::JoinSet,
};

/// A running or ended process. Dropping it kills the process.
pub(super) struct Process {
    pid: u32,
    watched: Arc<Watched>,
    /// Owns the child, which is killed with it.
    _task: JoinSet<()>,
}

#[derive(Default)]
struct Watched {
    log: Mutex<String>,
    kill: Notify,
    ended: SetOnce<ExitStatus>,
}

impl Process {
    /// Runs `command` without input; both outputs go to the log.
    pub(super) fn start(mut command: Command) -> io::Result<Self> {
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let pid = child.id().ok_or_else(|| io::Error::other("it has no process id"))?;
        let watched = Arc::new(Watched::default());
        let mut task = JoinSet::new();
        task.spawn(watch(child, Arc::clone(&watched)));
        Ok(Self { pid, watched, _task: task })
    }

    pub(super) fn pid(&self) -> u32 {
        self.pid
    }

    pub(super) fn log(&self) -> String {
        self.watched.log.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits for the end of the process; the log is complete then.
    pub(super) async fn exited(&self) -> ExitStatus {
        *self.watched.ended.wait().await
    }

    /// Kills the process if it still runs, and waits for its end.
    pub(super) async fn kill(&self) {
        self.watched.kill.notify_one();
        self.exited().await;
    }
}

async fn watch(mut child: Child, watched: Arc<Watched>) {
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let ended = async {
        tokio::select! {
            status = child.wait() => status,
            () = watched.kill.notified() => {
                // Fails only for a process that has ended already.
                let _ = child.start_kill();
                child.wait().await
            }
        }
    };
    let (status, (), ()) =
        tokio::join!(ended, copy(stdout, &watched.log), copy(stderr, &watched.log));
    let status = status.unwrap_or_else(|error| panic!("can't wait for a child process: {error}"));
    // Set only here, and once.
    let _ = watched.ended.set(status);
}

/// Copies line by line, so that the two outputs don't mix within a line.
async fn copy(output: Option<impl AsyncRead + Unpin>, log: &Mutex<String>) {
    let Some(output) = output else { return };
    let mut output = BufReader::new(output);
    let mut line = Vec::new();
    while output.read_until(b'\n', &mut line).await.is_ok_and(|read| read > 0) {
        log.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push_str(&String::from_utf8_lossy(&line));
        line.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_log_is_complete_when_it_ended() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo out; echo err >&2; printf 'no newline'; exit 3"]);
        let process = Process::start(command).unwrap();
        assert_eq!(process.exited().await.code(), Some(3));
        let log = process.log();
        for part in ["out\n", "err\n", "no newline"] {
            assert!(log.contains(part), "{log}");
        }
    }

    #[tokio::test]
    async fn killing_waits_for_the_end_and_may_be_repeated() {
        let mut command = Command::new("sleep");
        command.arg("600");
        let process = Process::start(command).unwrap();
        process.kill().await;
        assert!(!process.exited().await.success());
        process.kill().await;
    }
}
