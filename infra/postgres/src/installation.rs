//! One installation of the server programs and its version.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Oldest major version that Kinline's SQL runs on.
const OLDEST: u32 = 15;

/// A folder whose `postgres` and `initdb` belong together and are new enough.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Installation {
    bin: PathBuf,
    version: String,
}

impl Installation {
    /// The installation in a folder of programs. The error is a clause that says why it can't be used.
    ///
    /// `postgres` may be a symbolic link, so the folder of its target counts.
    pub(crate) fn at(folder: &Path) -> Result<Self, String> {
        let postgres = folder
            .join("postgres")
            .canonicalize()
            .map_err(|_| format!("{} holds no `postgres`", folder.display()))?;
        let bin = postgres.parent().map_or_else(|| folder.to_owned(), Path::to_owned);
        let version = version_of(&postgres)?;
        if version_of(&bin.join("initdb"))? != version {
            return Err(format!(
                "`postgres` and `initdb` in {} are of different versions",
                bin.display()
            ));
        }
        match major(&version).parse::<u32>() {
            Ok(number) if number >= OLDEST => Ok(Self { bin, version }),
            _ => Err(format!(
                "PostgreSQL {version} in {} is too old: {OLDEST} or newer is needed",
                bin.display()
            )),
        }
    }

    /// The path of one of its programs.
    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.bin.join(name)
    }

    /// The version, such as `17.5`.
    pub(crate) fn version(&self) -> &str {
        &self.version
    }

    /// The major version, such as `17`: a server and its data must have the same.
    pub(crate) fn major(&self) -> &str {
        major(&self.version)
    }
}

/// The leading digits: the major version of `18beta1` is 18.
fn major(version: &str) -> &str {
    let end = version.find(|c: char| !c.is_ascii_digit()).unwrap_or(version.len());
    &version[..end]
}

/// Runs the program for its version: one that doesn't start (another system's, a missing library)
/// can't be used.
fn version_of(program: &Path) -> Result<String, String> {
    let output = Command::new(program)
        .arg("--version")
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("{} doesn't start: {error}", program.display()))?;
    // `postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)`
    String::from_utf8_lossy(&output.stdout)
        .split_once("(PostgreSQL) ")
        .and_then(|(_, rest)| rest.split_whitespace().next())
        .map(ToOwned::to_owned)
        .ok_or_else(|| {
            let said = String::from_utf8_lossy(&output.stderr);
            format!("{} doesn't print its version: {}", program.display(), said.trim())
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_major_version_is_the_leading_number() {
        assert_eq!(major("15.18"), "15");
        assert_eq!(major("18beta1"), "18");
        assert_eq!(major("17"), "17");
    }
}
