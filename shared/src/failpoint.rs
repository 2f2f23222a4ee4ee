//! Failpoints: places where a test kills or stops a process, before and after the worker's commits and
//! sends and a post's commit, and after its wake-up calls. Release binaries have none.

/// Runs the action of `KINLINE_FAILPOINT`, if it has this name: `name=kill` sends SIGKILL, `name=stop`
/// SIGSTOP; `name=kill:3` does so at the third call.
#[cfg(debug_assertions)]
pub fn reach(name: &'static str) {
    use std::{
        process::{self, Command},
        sync::{
            OnceLock,
            atomic::{AtomicU32, Ordering},
        },
    };

    struct Setting {
        name: String,
        signal: &'static str,
        times_left: AtomicU32,
    }

    static SETTING: OnceLock<Option<Setting>> = OnceLock::new();
    let setting = SETTING.get_or_init(|| {
        let text = std::env::var("KINLINE_FAILPOINT").ok()?;
        let (name, action) = text.split_once('=')?;
        let (action, times) = action.split_once(':').unwrap_or((action, "1"));
        let signal = match action {
            "kill" => "KILL",
            "stop" => "STOP",
            _ => return None,
        };
        Some(Setting {
            name: name.to_owned(),
            signal,
            times_left: AtomicU32::new(times.parse().ok()?),
        })
    });
    let Some(setting) = setting.as_ref().filter(|setting| setting.name == name) else { return };
    if setting.times_left.fetch_sub(1, Ordering::SeqCst) != 1 {
        return;
    }
    // A real signal, which the process can't handle. `kill` is a builtin of the shell, so no program is
    // needed.
    let kill = format!("kill -s {} {}", setting.signal, process::id());
    let _sent = Command::new("/bin/sh").args(["-c", &kill]).status();
}

/// Does nothing.
#[cfg(not(debug_assertions))]
#[inline]
pub const fn reach(_name: &'static str) {}
