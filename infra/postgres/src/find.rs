//! Finds the PostgreSQL servers that are installed on the machine.

use std::cmp::Reverse;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::Error;
use crate::installation::Installation;

/// Places to search; a value, so that a test can hide what its machine has.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    /// The folder of `PG_BIN`. If set, no other place is searched.
    pub(crate) pg_bin: Option<PathBuf>,
    /// Folders of programs, the first match first.
    pub(crate) folders: Vec<PathBuf>,
}

impl Places {
    /// The places of this machine, from its environment.
    pub(crate) fn of_this_machine() -> Self {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let mut folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
        folders.extend(pg_config());
        folders.extend(versions_in("/usr/lib/postgresql", "", "bin"));
        for homebrew in ["/opt/homebrew/opt", "/usr/local/opt"] {
            folders.extend(versions_in(homebrew, "postgresql@", "bin"));
            folders.push(Path::new(homebrew).join("postgresql/bin"));
        }
        folders.extend(versions_in("/Applications/Postgres.app/Contents/Versions", "", "bin"));
        Self {
            pg_bin: std::env::var_os("PG_BIN").filter(|value| !value.is_empty()).map(PathBuf::from),
            folders,
        }
    }
}

/// The result of a search.
#[derive(Debug)]
pub(crate) enum Search {
    /// The first usable installation.
    Found(Installation),
    /// No usable one; a clause for each installation that can't be used, such as one too old.
    Nothing(Vec<String>),
}

/// Finds the first usable installation of the places.
///
/// # Errors
/// `PgBin` if the folder of `PG_BIN` can't be used.
pub(crate) fn find(places: &Places) -> Result<Search, Error> {
    if let Some(folder) = &places.pg_bin {
        return Installation::at(folder)
            .map(Search::Found)
            .map_err(|reason| Error::PgBin { folder: folder.clone(), reason });
    }
    let mut unusable = Vec::new();
    for folder in &places.folders {
        // Most folders of a PATH hold no server.
        if !folder.join("postgres").is_file() {
            continue;
        }
        match Installation::at(folder) {
            Ok(installation) => return Ok(Search::Found(installation)),
            Err(reason) if unusable.contains(&reason) => {}
            Err(reason) => unusable.push(reason),
        }
    }
    Ok(Search::Nothing(unusable))
}

fn pg_config() -> Option<PathBuf> {
    let output = Command::new("pg_config").arg("--bindir").stdin(Stdio::null()).output().ok()?;
    let folder = String::from_utf8(output.stdout).ok()?;
    (!folder.trim().is_empty()).then(|| PathBuf::from(folder.trim()))
}

/// `<parent>/<prefix><version>/<child>` for every version there, the newest first.
fn versions_in(parent: &str, prefix: &str, child: &str) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(parent) else {
        return Vec::new();
    };
    let mut names: Vec<(u32, OsString)> = entries
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name();
            let version = name.to_str()?.strip_prefix(prefix)?;
            let number = version.split('.').next()?.parse().ok()?;
            Some((number, name))
        })
        .collect();
    names.sort_unstable_by_key(|(number, _)| Reverse(*number));
    names.into_iter().map(|(_, name)| Path::new(parent).join(name).join(child)).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    /// Creates programs that only print a version.
    fn pretend(folder: &Path, version: &str) {
        fs::create_dir_all(folder).unwrap();
        for program in ["postgres", "initdb"] {
            let file = folder.join(program);
            let script = format!("#!/bin/sh\necho '{program} (PostgreSQL) {version}'\n");
            fs::write(&file, script).unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
        }
    }

    fn places(folders: &[&Path]) -> Places {
        Places {
            pg_bin: None,
            folders: folders.iter().map(|folder| folder.to_path_buf()).collect(),
        }
    }

    #[test]
    fn a_symbolic_link_leads_to_its_installation() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        pretend(&root.join("17/bin"), "17.5 (Debian 17.5-1)");
        fs::create_dir(root.join("links")).unwrap();
        symlink(root.join("17/bin/postgres"), root.join("links/postgres")).unwrap();

        let Search::Found(found) = find(&places(&[&root.join("links")])).unwrap() else {
            panic!("not found");
        };
        assert_eq!(found.version(), "17.5");
        assert_eq!(found.program("initdb"), root.join("17/bin/initdb"));
    }

    #[test]
    fn an_installation_that_is_too_old_is_skipped_and_reported() {
        let folder = tempfile::tempdir().unwrap();
        let (old, new) = (folder.path().join("old"), folder.path().join("new"));
        pretend(&old, "13.4");
        pretend(&new, "16.1");

        let Search::Found(found) = find(&places(&[&old, &new])).unwrap() else {
            panic!("not found");
        };
        assert_eq!(found.version(), "16.1");

        let Search::Nothing(unusable) = find(&places(&[&old, &old])).unwrap() else {
            panic!("found");
        };
        assert_eq!(unusable.len(), 1);
        assert!(unusable[0].contains("PostgreSQL 13.4"), "{unusable:?}");
        assert!(unusable[0].contains("15 or newer"), "{unusable:?}");
    }

    #[test]
    fn a_wrong_pg_bin_is_an_error_even_if_another_installation_is_usable() {
        let folder = tempfile::tempdir().unwrap();
        let good = folder.path().join("good");
        pretend(&good, "16.1");
        let places = Places { pg_bin: Some(PathBuf::from("/no/such/folder")), ..places(&[&good]) };

        let message = find(&places).unwrap_err().to_string();
        assert!(message.contains("PG_BIN is /no/such/folder"), "{message}");
        assert!(message.contains("unset it"), "{message}");
    }

    #[test]
    fn newer_versions_come_first() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["postgresql@9.6", "postgresql@17", "postgresql@16", "postgresql"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }

        let found = versions_in(folder.path().to_str().unwrap(), "postgresql@", "bin");
        let expected: Vec<PathBuf> = ["17", "16", "9.6"]
            .iter()
            .map(|version| folder.path().join(format!("postgresql@{version}/bin")))
            .collect();
        assert_eq!(found, expected);
    }
}
