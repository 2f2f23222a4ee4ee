//! Errors of finding, fetching, starting and stopping a server, each with the next step.

use std::io;
use std::path::PathBuf;

/// Why a server could not be found, fetched, started or stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// `PG_BIN` names a folder that can't be used. No other place is tried.
    #[error(
        "PG_BIN is {}, which can't be used: {reason}. Point it at a folder that holds `postgres` and `initdb` of PostgreSQL 15 or newer, or unset it.",
        .folder.display()
    )]
    PgBin {
        /// The value of `PG_BIN`.
        folder: PathBuf,
        /// The reason why it can't be used.
        reason: String,
    },

    /// There is no usable server on this machine, and none could be fetched.
    #[error(
        "No PostgreSQL 15 or newer was found, and none could be fetched:\n  - {}\n\
         Do one of these:\n  \
         Debian, Ubuntu   apt-get install postgresql\n  \
         Fedora           dnf install postgresql-server\n  \
         macOS            brew install postgresql@17\n  \
         elsewhere        set PG_BIN to the folder that holds `postgres` and `initdb`\n  \
         already running  set DATABASE_URL to a database of your own",
        .tried.join("\n  - ")
    )]
    Unavailable {
        /// A line for each place or client that failed.
        tried: Vec<String>,
    },

    /// Another process has a server on this folder.
    #[error(
        "The data folder {} is in use by another Kinline ({}). Stop it, or choose another folder with --data-dir.",
        .folder.display(),
        .pid.map_or_else(|| "pid unknown".to_owned(), |pid| format!("pid {pid}"))
    )]
    InUse {
        /// The data folder.
        folder: PathBuf,
        /// The process that holds it, if known.
        pid: Option<u32>,
    },

    /// The folder holds other files, which a server could damage.
    #[error(
        "{} isn't empty and isn't a data folder of Kinline. Choose an empty or new folder with --data-dir.",
        .folder.display()
    )]
    NotOurs {
        /// The data folder.
        folder: PathBuf,
    },

    /// PostgreSQL can't read the data of another major version.
    #[error(
        "The data in {} was made by PostgreSQL {data}, but the server found is {server}. Set PG_BIN to the programs of PostgreSQL {data}, or start over with --fresh, which deletes the data.",
        .folder.display()
    )]
    OtherVersion {
        /// The data folder.
        folder: PathBuf,
        /// The major version that made the data.
        data: String,
        /// The version of the server found.
        server: String,
    },

    /// The user that the server runs as instead of root can't reach a path.
    #[error(
        "PostgreSQL doesn't run as root, so it runs as user {uid}, which can't use {}. {next_step}",
        .path.display()
    )]
    Unreachable {
        /// The user the server runs as.
        uid: u32,
        /// The path.
        path: PathBuf,
        /// The next step.
        next_step: &'static str,
    },

    /// The password of the data folder is missing or isn't its server's.
    #[error(
        "The password in {} is missing or doesn't fit the data beside it. Restore that file, or start over with --fresh, which deletes the data.",
        .file.display()
    )]
    Password {
        /// The file that keeps the password.
        file: PathBuf,
    },

    /// `initdb` or `postgres` failed.
    #[error("{program} {what}. The last lines of {}:\n{lines}", .log.display())]
    Failed {
        /// The program.
        program: &'static str,
        /// Its failure, as a verb phrase.
        what: String,
        /// The file its output went to.
        log: PathBuf,
        /// The last lines of that file.
        lines: String,
    },

    /// A server that a crash left behind doesn't stop.
    #[error(
        "A PostgreSQL left over from a crash (pid {pid}) doesn't stop. End it with `kill -9 {pid}` and start again."
    )]
    Orphan {
        /// The process.
        pid: u32,
    },

    /// The operating system refused something.
    #[error("Could not {doing}: {source}. Check the path and its permissions.")]
    Io {
        /// The action that failed.
        doing: String,
        /// The reason.
        source: io::Error,
    },
}

impl Error {
    /// Adds the action that failed to an I/O error: `.map_err(Error::io(|| "read x".into()))`.
    pub(crate) fn io(doing: impl FnOnce() -> String) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { doing: doing(), source }
    }
}
