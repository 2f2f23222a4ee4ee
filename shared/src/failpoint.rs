//! Places where a test makes a process die or freeze: on both sides of the worker's commits and of
//! its send, of a post's commit, and after its wake-up calls.
//! A release binary has none of it.

/// Does here what `KINLINE_FAILPOINT` asks for: `name=kill` is SIGKILL, `name=stop` SIGSTOP;
/// `name=kill:3` waits for the third time that the place is reached.
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
    // The signal is the kernel's own, from outside: nothing of this process can soften it. The
    // shell has `kill` built in, also where there is no such program.
    let kill = format!("kill -s {} {}", setting.signal, process::id());
    let _sent = Command::new("/bin/sh").args(["-c", &kill]).status();
}

/// Nothing.
#[cfg(not(debug_assertions))]
#[inline]
pub const fn reach(_name: &'static str) {}
