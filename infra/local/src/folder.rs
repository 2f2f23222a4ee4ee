//! The data folder of one running stack: its place, and the lock that keeps it to one process.

use std::{
    fs::{self, File, TryLockError},
    io::{ErrorKind, Read, Seek, Write},
    os::unix::{ffi::OsStrExt, fs::DirBuilderExt},
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use sha2::{Digest, Sha256};

const LOCK: &str = "lock";
/// All that a stack writes to its folder.
const OURS: [&str; 7] = [
    "postgres",
    "secrets.json",
    "texts.jsonl",
    "phones.json",
    "api.env",
    "worker.env",
    "kinline.log",
];

/// A data folder that is locked for this process until this is dropped.
pub struct Folder {
    path: PathBuf,
    _lock: File,
}

impl Folder {
    /// The default data folder of the stack on `port`: outside the checkout, and one for each port,
    /// so that a second instance has its own.
    #[must_use]
    pub fn default_path(port: u16) -> PathBuf {
        let data =
            std::env::var_os("XDG_DATA_HOME").filter(|dir| !dir.is_empty()).map(PathBuf::from);
        let home = std::env::home_dir().filter(|home| home != Path::new("/root"));
        match (data, home) {
            (Some(data), _) => data.join("kinline"),
            (None, Some(home)) => home.join(".local/share/kinline"),
            // For root, PostgreSQL runs as another user, which can't read root's home.
            (None, None) => PathBuf::from("/var/lib/kinline"),
        }
        .join(port.to_string())
    }

    /// Opens the folder, and creates it if it is missing.
    ///
    /// # Errors
    /// When it can't be created, or another instance is using it.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        let shown = path.display();
        // 0711: PostgreSQL, as another user, can pass through; other users can't list it.
        fs::DirBuilder::new().recursive(true).mode(0o711).create(path).with_context(|| {
            format!("can't create the data folder {shown}; choose another with --data-dir")
        })?;
        let path = path.canonicalize()?;
        let mut lock = File::options()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(path.join(LOCK))
            .with_context(|| {
                format!("can't write to the data folder {shown}; choose another with --data-dir")
            })?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut owner = String::new();
                let _unnamed = lock.read_to_string(&mut owner);
                bail!(
                    "another Kinline (process {}) is using {shown}: stop it, or give this one \
                     another folder and port with --data-dir and --port",
                    owner.trim()
                );
            }
            Err(TryLockError::Error(error)) => {
                return Err(error).context("can't lock the data folder");
            }
        }
        lock.set_len(0)?;
        lock.rewind()?;
        write!(lock, "{}", std::process::id())?;
        Ok(Self { path, _lock: lock })
    }

    /// Removes all that an earlier run wrote, and nothing else.
    ///
    /// # Errors
    /// When something can't be removed.
    pub fn empty(&self) -> anyhow::Result<()> {
        let ours = OURS.iter().map(|name| self.path.join(name));
        for path in ours.chain([self.outside()]) {
            let removed =
                if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            match removed {
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                removed => removed.with_context(|| format!("can't remove {}", path.display()))?,
            }
        }
        Ok(())
    }

    /// The place of PostgreSQL's data when this process is root and PostgreSQL's user can't reach
    /// this folder: outside of it, and different for each folder.
    #[must_use]
    pub fn outside(&self) -> PathBuf {
        let digest = Sha256::digest(self.path.as_os_str().as_bytes());
        Path::new("/var/lib/kinline/outside").join(hex::encode(&digest[..8]))
    }

    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The path of an entry of the folder.
    #[must_use]
    pub fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_has_one_user_at_a_time() {
        let parent = tempfile::tempdir().expect("a folder");
        let path = parent.path().join("deep/er");
        let first = Folder::open(&path).expect("free");
        let refused = Folder::open(&path).err().expect("taken").to_string();
        assert!(refused.contains(&std::process::id().to_string()), "{refused}");
        assert!(refused.contains("--data-dir"), "{refused}");
        drop(first);
        Folder::open(&path).expect("free again");
    }

    #[test]
    fn emptying_removes_what_is_ours_and_nothing_else() {
        let parent = tempfile::tempdir().expect("a folder");
        let folder = Folder::open(parent.path()).expect("free");
        fs::create_dir_all(folder.join("postgres/cluster")).expect("made");
        fs::write(folder.join("texts.jsonl"), "{}").expect("written");
        fs::write(folder.join("precious"), "theirs").expect("written");
        folder.empty().expect("emptied");
        let left: Vec<_> = fs::read_dir(folder.path()).expect("read").flatten().collect();
        assert_eq!(left.len(), 2, "the lock and what is precious");
        assert!(folder.join("precious").exists());
        assert!(Folder::open(parent.path()).is_err(), "still locked");
    }
}
