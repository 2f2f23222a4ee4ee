//! Creates the database cluster at first use. An interrupted start leaves no incomplete one.

use std::io::{ErrorKind, Write};

use uuid::Uuid;

use crate::Error;
use crate::folder::Folder;
use crate::installation::Installation;
use crate::watchdog::{Job, Watchdog};

/// Ensures that the folder holds a cluster that this installation can run; returns its password.
///
/// # Errors
/// `OtherVersion`, `Password`, `Failed`, or `Io`.
pub(crate) async fn prepare(
    folder: &Folder,
    installation: &Installation,
    durable: bool,
    throwaway: bool,
    progress: &(dyn Fn(&str) + Sync),
) -> Result<String, Error> {
    let version_file = folder.cluster().join("PG_VERSION");
    match std::fs::read_to_string(&version_file) {
        Ok(data) if data.trim() == installation.major() => return password(folder),
        Ok(data) => {
            return Err(Error::OtherVersion {
                folder: folder.root().to_owned(),
                data: data.trim().to_owned(),
                server: installation.version().to_owned(),
            });
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => {
            return Err(Error::io(|| format!("read {}", version_file.display()))(error));
        }
    }
    progress(&format!("creating a database in {}", folder.root().display()));
    create(folder, installation, durable, throwaway).await
}

fn password(folder: &Folder) -> Result<String, Error> {
    match std::fs::read_to_string(folder.password()) {
        Ok(password) if !password.trim().is_empty() => Ok(password.trim().to_owned()),
        _ => Err(Error::Password { file: folder.password() }),
    }
}

async fn create(
    folder: &Folder,
    installation: &Installation,
    durable: bool,
    throwaway: bool,
) -> Result<String, Error> {
    let unfinished = folder.unfinished();
    // A new password each time: an earlier one belongs to no cluster.
    let password = Uuid::new_v4().simple().to_string();
    writeln!(folder.new_private_file(&folder.password())?, "{password}")
        .map_err(Error::io(|| format!("write {}", folder.password().display())))?;

    let mut args = vec![
        "--pgdata".into(),
        unfinished.clone().into_os_string(),
        "--pwfile".into(),
        folder.password().into_os_string(),
    ];
    // The C locale is the only one that every system has.
    args.extend(
        [
            "--username=postgres",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--locale=C",
            "--no-instructions",
        ]
        .map(Into::into),
    );
    if !durable {
        args.push("--no-sync".into());
    }
    let mut initdb = Watchdog::start(Job {
        program: &installation.program("initdb"),
        args,
        folder: folder.root(),
        log: folder.new_log()?,
        account: folder.account(),
        remove: throwaway.then(|| folder.root()),
    })?;
    let status = initdb.wait().await?;
    if !status.success() {
        return Err(folder.failure("initdb", format!("failed ({status})")));
    }
    std::fs::rename(&unfinished, folder.cluster())
        .map_err(Error::io(|| format!("rename {}", unfinished.display())))?;
    Ok(password)
}
