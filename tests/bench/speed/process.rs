//! The measured processes: their start, and the CPU time and memory that the kernel reports.

use std::{
    env, fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
};

/// The variable that selects the measured process that this program becomes.
pub(crate) const ROLE: &str = "KINLINE_BENCH_ROLE";

/// A child process, killed when dropped.
pub(crate) struct Measured {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Measured {
    /// Starts a build of this program in another role.
    pub(crate) fn role(program: &Path, role: &str, variables: &[(&str, String)]) -> Self {
        let mut command = Command::new(program);
        command.env(ROLE, role).envs(variables.iter().map(|(name, value)| (name, value)));
        Self::start(command)
    }

    /// Starts another program.
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().expect("a process");
        let output = BufReader::new(child.stdout.take().expect("its output"));
        Self { child, output }
    }

    /// The next line of its output.
    ///
    /// # Panics
    /// If its output has ended.
    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("a line");
        assert!(!line.is_empty(), "the process has ended");
        line.trim().to_owned()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Measured {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// The fields of a process's `stat` from its state on (`man proc_pid_stat`, field 3); `None` if there is
/// no such process.
fn stat(pid: u32) -> Option<Vec<i64>> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in parentheses, may contain blanks. The state is a letter.
    let (_, rest) = stat.rsplit_once(") ")?;
    Some(rest.split_whitespace().map(|field| field.parse().unwrap_or_default()).collect())
}

/// Seconds of the kernel's hundredths.
#[expect(clippy::cast_precision_loss, reason = "hundredths of seconds")]
fn seconds(ticks: &[i64]) -> f64 {
    ticks.iter().sum::<i64>() as f64 / 100.0
}

/// The CPU time of a process so far, in seconds, for all its threads; the kernel counts in hundredths.
pub(crate) fn cpu(pid: u32) -> f64 {
    seconds(&stat(pid).expect("a process")[11..13])
}

/// The CPU time so far of a PostgreSQL server, in seconds: the postmaster's, that of its children, and that
/// of the children that have ended.
pub(crate) fn postgres_cpu(postmaster: u32) -> f64 {
    let own = || stat(postmaster).expect("a postmaster")[11..15].to_vec();
    loop {
        let before = own();
        let children = fs::read_dir("/proc")
            .expect("processes")
            .flatten()
            .filter_map(|entry| stat(entry.file_name().to_str()?.parse().ok()?))
            .filter(|stat| stat[1] == i64::from(postmaster))
            .map(|stat| seconds(&stat[11..13]))
            .sum::<f64>();
        // A child that ended meanwhile might be counted twice, or not at all.
        if before[2..] == own()[2..] {
            return seconds(&before) + children;
        }
    }
}

/// The process that started `pid`.
pub(crate) fn parent(pid: u32) -> u32 {
    u32::try_from(stat(pid).expect("a process")[1]).expect("a process")
}

/// The peak memory of a process so far, in MiB.
pub(crate) fn peak_memory(pid: u32) -> f64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("a process");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("its memory");
    line.trim().trim_end_matches(" kB").parse::<f64>().expect("KiB") / 1024.0
}

/// Whether this program can be run.
pub(crate) fn is_there(program: &str) -> bool {
    let paths = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&paths).any(|folder| folder.join(program).is_file())
}

/// `<target>`, if this program is `<target>/<profile>/deps/<name>`.
pub(crate) fn target() -> PathBuf {
    let program = env::current_exe().expect("this program");
    program.ancestors().nth(3).expect("a target folder").to_owned()
}

/// The default folder of results.
pub(crate) fn out() -> PathBuf {
    target().join("bench")
}

/// Builds a package of the workspace for release, before anything is measured.
pub(crate) fn build(package: &str) {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = Command::new(cargo)
        .args(["build", "--release", "--locked", "-p", package])
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."))
        .env("CARGO_TARGET_DIR", target())
        .status();
    assert!(built.expect("cargo").success(), "{package} does not build");
}

/// A program that [`build`] has built.
pub(crate) fn built(program: &str) -> PathBuf {
    target().join("release").join(program)
}
