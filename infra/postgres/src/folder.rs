//! A data folder: its layout, its owner, and the lock that keeps it to one process.

use std::fs::{DirBuilder, File, TryLockError};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use uuid::Uuid;

use crate::Error;
use crate::account::Account;

/// A data folder that is locked for this process until it is dropped.
pub(crate) struct Folder {
    root: PathBuf,
    account: Option<Account>,
    /// Holds the lock; the system releases it however this process ends.
    _lock: File,
}

impl Folder {
    /// Creates the folder if it is missing, locks it, and gives it to the server's account.
    ///
    /// # Errors
    /// `InUse`, `NotOurs`, `Unreachable`, or `Io`.
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        let root = create(path)?;
        let lock = lock(&root)?;
        let account = Account::for_folder(&root)?;
        if let Some(account) = account {
            account.give(&root)?;
            if !account.test("-w", &root) {
                return Err(Error::Unreachable {
                    uid: account.uid,
                    path: root,
                    next_step: "Choose a folder outside root's home with --data-dir, such as one in /var/lib, or run as another user.",
                });
            }
        }
        Ok(Self { root, account, _lock: lock })
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The account that runs the programs, if not this process's own.
    pub(crate) fn account(&self) -> Option<Account> {
        self.account
    }

    /// PostgreSQL's data directory. It exists only when complete.
    pub(crate) fn cluster(&self) -> PathBuf {
        self.root.join("cluster")
    }

    /// The path at which a cluster is created before it is moved to its place: a new one each time,
    /// since an interrupted `initdb` may still write to an earlier one. Removes earlier ones.
    pub(crate) fn unfinished(&self) -> PathBuf {
        const PREFIX: &str = "unfinished-";
        for entry in self.root.read_dir().into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().starts_with(PREFIX) {
                // A folder that can't be removed yet is harmless; a later start removes it.
                let _ = std::fs::remove_dir_all(entry.path());
            }
        }
        self.root.join(format!("{PREFIX}{}", Uuid::new_v4().simple()))
    }

    /// The superuser's password.
    pub(crate) fn password(&self) -> PathBuf {
        self.root.join("password")
    }

    /// The log of the programs.
    pub(crate) fn log(&self) -> PathBuf {
        self.root.join("server.log")
    }

    /// Starts a new log; only the last run is of interest.
    pub(crate) fn new_log(&self) -> Result<File, Error> {
        let path = self.log();
        self.new_private_file(&path)
    }

    /// An empty file that only the server's account can read.
    pub(crate) fn new_private_file(&self, path: &Path) -> Result<File, Error> {
        let doing = || format!("write {}", path.display());
        // The mode applies to a new file only.
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(Error::io(doing)(error));
            }
            _ => {}
        }
        let file = File::options()
            .create_new(true)
            .append(true)
            .mode(0o600)
            .open(path)
            .map_err(Error::io(doing))?;
        if let Some(account) = self.account {
            account.give(path)?;
        }
        Ok(file)
    }

    /// The failure of a program, with the last lines of the log.
    pub(crate) fn failure(&self, program: &'static str, what: String) -> Error {
        let log = std::fs::read(self.log()).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().collect();
        Error::Failed {
            program,
            what,
            log: self.log(),
            lines: lines[lines.len().saturating_sub(12)..].join("\n"),
        }
    }
}

/// Creates the folder, private to its owner. Its parents aren't: the server's account passes through.
fn create(path: &Path) -> Result<PathBuf, Error> {
    let doing = || format!("create {}", path.display());
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).map_err(Error::io(doing))?;
    }
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => {
            return Err(Error::io(doing)(error));
        }
        _ => {}
    }
    path.canonicalize().map_err(Error::io(doing))
}

/// Locks the folder. The lock file also marks it: a folder with other files and no lock is refused.
fn lock(root: &Path) -> Result<File, Error> {
    let path = root.join("lock");
    let doing = || format!("lock {}", path.display());
    let mut entries = root.read_dir().map_err(Error::io(doing))?;
    if !path.exists() && entries.next().is_some() && !path.exists() {
        return Err(Error::NotOurs { folder: root.to_owned() });
    }
    let mut file = File::options()
        .create(true)
        .read(true)
        .write(true)
        .truncate(false)
        .open(&path)
        .map_err(Error::io(doing))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            return Err(Error::InUse {
                folder: root.to_owned(),
                pid: std::fs::read_to_string(&path).ok().and_then(|pid| pid.trim().parse().ok()),
            });
        }
        Err(TryLockError::Error(error)) => return Err(Error::io(doing)(error)),
    }
    file.set_len(0).map_err(Error::io(doing))?;
    writeln!(file, "{}", std::process::id()).map_err(Error::io(doing))?;
    Ok(file)
}
