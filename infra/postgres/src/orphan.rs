//! Ends a server that a crash left running on a data folder, so that the next start succeeds.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::Error;
use crate::folder::Folder;
use crate::watchdog::signal;

/// Stops a server that is left on the folder. The caller holds the folder's lock, so it is not in use.
///
/// # Errors
/// `Orphan` if it doesn't stop, or `Io`.
pub(crate) async fn end(folder: &Folder, progress: &(dyn Fn(&str) + Sync)) -> Result<(), Error> {
    let cluster = folder.cluster();
    let pid_file = cluster.join("postmaster.pid");
    let Some(pid) = read_pid(&pid_file) else {
        return Ok(());
    };
    if is_server(pid, &cluster) {
        progress(&format!("stopping a PostgreSQL left over from a crash (pid {pid})"));
        // Fast, then without a checkpoint, then by force; each with its wait in tenths of a second.
        for (name, wait) in [("INT", 20), ("QUIT", 10), ("KILL", 10)] {
            signal(&pid.to_string(), name);
            for _ in 0..wait {
                if !is_server(pid, &cluster) {
                    return Ok(());
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
        return Err(Error::Orphan { pid });
    }
    // PostgreSQL refuses to start if another process of its user has that pid now. If none has, it
    // checks that no backend of the old server is left, and needs the file for that.
    if command_line(pid).is_some() {
        std::fs::remove_file(&pid_file)
            .map_err(Error::io(|| format!("remove {}", pid_file.display())))?;
    }
    Ok(())
}

fn read_pid(file: &Path) -> Option<u32> {
    let content = std::fs::read_to_string(file).ok()?;
    content.lines().next()?.trim().parse().ok()
}

/// Whether the process is a `postgres` that was started on this cluster.
fn is_server(pid: u32, cluster: &Path) -> bool {
    command_line(pid).is_some_and(|line| {
        line.contains("postgres") && line.contains(cluster.to_string_lossy().as_ref())
    })
}

/// The command line of a live process.
fn command_line(pid: u32) -> Option<String> {
    let line = match std::fs::read(format!("/proc/{pid}/cmdline")) {
        Ok(line) => line,
        // macOS has no /proc, some Linux systems no `ps`.
        Err(_) => {
            Command::new("ps")
                .args(["-ww", "-o", "command=", "-p", &pid.to_string()])
                .stdin(Stdio::null())
                .stderr(Stdio::null())
                .output()
                .ok()?
                .stdout
        }
    };
    let line = String::from_utf8_lossy(&line).replace('\0', " ");
    // A zombie has no command line.
    (!line.trim().is_empty()).then_some(line)
}
