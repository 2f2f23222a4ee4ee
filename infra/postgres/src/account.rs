//! The account that the server runs as when this process is root, which PostgreSQL refuses.

use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::Error;

/// A user other than this process's own.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Account {
    pub(crate) uid: u32,
    gid: u32,
}

impl Account {
    /// None unless this process is root. Then the owner of `folder` if that isn't root, so that the
    /// data keeps its owner; else `postgres`, else `nobody`.
    pub(crate) fn for_folder(folder: &Path) -> Result<Option<Self>, Error> {
        if !is_root() {
            return Ok(None);
        }
        let owner =
            folder.metadata().map_err(Error::io(|| format!("read {}", folder.display())))?;
        if owner.uid() != 0 {
            return Ok(Some(Self { uid: owner.uid(), gid: owner.gid() }));
        }
        Ok(Self::named("postgres").or_else(|| Self::named("nobody")))
    }

    fn named(name: &str) -> Option<Self> {
        Some(Self { uid: id(&["-u", name])?, gid: id(&["-g", name])? })
    }

    /// Makes the command run as this account, without any of root's groups: the standard library empties them.
    pub(crate) fn apply(self, command: &mut Command) {
        command.uid(self.uid).gid(self.gid);
    }

    pub(crate) fn give(self, path: &Path) -> Result<(), Error> {
        chown(path, Some(self.uid), Some(self.gid))
            .map_err(Error::io(|| format!("give {} to user {}", path.display(), self.uid)))
    }

    /// Whether `test <operator> <path>` holds for this account; only the account itself can tell.
    pub(crate) fn test(self, operator: &str, path: &Path) -> bool {
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", "test \"$1\" \"$2\"", "sh", operator])
            .arg(path)
            .current_dir("/")
            .stdin(Stdio::null());
        self.apply(&mut command);
        command.status().is_ok_and(|status| status.success())
    }
}

/// Whether this process is root. The standard library can't tell.
pub(crate) fn is_root() -> bool {
    id(&["-u"]) == Some(0)
}

fn id(args: &[&str]) -> Option<u32> {
    // By its usual path too: with a bare PATH, root would be taken for another user.
    let output = ["id", "/usr/bin/id"]
        .iter()
        .find_map(|program| Command::new(program).args(args).output().ok())?;
    String::from_utf8(output.stdout).ok()?.trim().parse().ok()
}
