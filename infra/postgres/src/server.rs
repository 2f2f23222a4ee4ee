//! A PostgreSQL server that never outlives this process.

use std::ffi::OsString;
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use sqlx::postgres::{PgConnectOptions, PgSslMode};
use sqlx::{Connection, PgConnection};

use crate::fetch::{self, Clients};
use crate::find::{self, Places, Search};
use crate::folder::Folder;
use crate::installation::Installation;
use crate::watchdog::{Job, Watchdog};
use crate::{Error, cluster, orphan};

/// Time until a server answers, recovery after a crash included.
const START_LIMIT: Duration = Duration::from_mins(1);
/// Start attempts, when the port was taken meanwhile or backends of a killed server still run.
const TRIES: u32 = 10;

/// Options of a server.
#[derive(Clone, Debug)]
pub struct Options {
    /// The server's own folder: data, password, log. Created if it is missing.
    pub data_dir: PathBuf,
    /// Whether data has to survive a crash of the machine. If not, everything is faster.
    pub durable: bool,
    /// PostgreSQL's limit of connections.
    pub max_connections: u16,
}

/// A running server. It stops when this process ends, a kill included.
///
/// Dropping it stops the server too, and blocks the thread meanwhile; prefer [`Server::stop`].
pub struct Server {
    port: u16,
    password: String,
    installation: Installation,
    watchdog: Watchdog,
    /// Dropped after the watchdog: the lock is held until the server is gone.
    _folder: Folder,
}

impl Server {
    /// Starts a server on the data folder and returns when it accepts connections, on loopback only
    /// and on a port chosen anew each time. Finds the server programs, or fetches them.
    ///
    /// `progress` gets a short line for each step that takes time.
    ///
    /// # Errors
    /// Any [`Error`]; each says what to do next.
    pub async fn start(options: &Options, progress: &(dyn Fn(&str) + Sync)) -> Result<Self, Error> {
        Self::start_from(&Places::of_this_machine(), options, false, progress).await
    }

    /// Like [`Server::start`], but the data folder is removed when the server stops.
    pub(crate) async fn start_throwaway(
        options: &Options,
        progress: &(dyn Fn(&str) + Sync),
    ) -> Result<Self, Error> {
        let result = Self::start_from(&Places::of_this_machine(), options, true, progress).await;
        if result.is_err() {
            // The error carries the last lines of the log.
            let _ = std::fs::remove_dir_all(&options.data_dir);
        }
        result
    }

    async fn start_from(
        places: &Places,
        options: &Options,
        throwaway: bool,
        progress: &(dyn Fn(&str) + Sync),
    ) -> Result<Self, Error> {
        // First, so that a folder in use is reported before anything is fetched.
        let folder = Folder::open(&options.data_dir)?;
        let installation = match find::find(places)? {
            Search::Found(installation) => installation,
            Search::Nothing(unusable) => {
                fetch::fetch(&Clients::of_this_machine(), unusable, progress).await?
            }
        };
        if let Some(account) = folder.account()
            && !account.test("-x", &installation.program("initdb"))
        {
            return Err(Error::Unreachable {
                uid: account.uid,
                path: installation.program("initdb"),
                next_step: "Set PG_BIN to server programs that every user can run, or run as another user.",
            });
        }
        orphan::end(&folder, progress).await?;
        let password =
            cluster::prepare(&folder, &installation, options.durable, throwaway, progress).await?;

        progress(&format!("starting PostgreSQL {}", installation.version()));
        let mut tries = 1;
        loop {
            let port = free_port()?;
            let failure = match run(&folder, &installation, options, port, throwaway) {
                Ok(mut watchdog) => match answers(&folder, &mut watchdog, port, &password).await {
                    Ok(()) => {
                        return Ok(Self {
                            port,
                            password,
                            installation,
                            watchdog,
                            _folder: folder,
                        });
                    }
                    Err(failure) => failure,
                },
                Err(failure) => failure,
            };
            if tries == TRIES || !is_transient(&failure) {
                return Err(failure);
            }
            tries += 1;
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// The URL of a database on this server, with the superuser's password. The name isn't escaped;
    /// the database `postgres` always exists.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        format!("postgres://postgres:{}@127.0.0.1:{}/{database}", self.password, self.port)
    }

    /// The port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The version of PostgreSQL, such as `17.5`.
    #[must_use]
    pub fn version(&self) -> &str {
        self.installation.version()
    }

    /// The path of one of the installation's programs, which may be missing.
    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.installation.program(name)
    }

    /// Stops the server and waits until it is gone: cuts connections, writes data. After 2 s, it is
    /// ended by force; its data is recovered at the next start.
    ///
    /// # Errors
    /// `Io` if the server's process can't be waited for.
    pub async fn stop(self) -> Result<(), Error> {
        self.watchdog.stop().await
    }
}

/// A port that was free just now.
fn free_port() -> Result<u16, Error> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|listener| listener.local_addr())
        .map(|address| address.port())
        .map_err(Error::io(|| "find a free port on 127.0.0.1".to_owned()))
}

fn run(
    folder: &Folder,
    installation: &Installation,
    options: &Options,
    port: u16,
    throwaway: bool,
) -> Result<Watchdog, Error> {
    let mut settings = vec![
        "listen_addresses=127.0.0.1".to_owned(),
        format!("port={port}"),
        // Their default folder may be missing or not writable.
        "unix_socket_directories=".to_owned(),
        format!("max_connections={}", options.max_connections),
        "timezone=UTC".to_owned(),
        "log_timezone=UTC".to_owned(),
        // Parameters hold users' numbers and messages.
        "log_statement=none".to_owned(),
        "log_parameter_max_length_on_error=0".to_owned(),
    ];
    if !options.durable {
        settings.extend(
            [
                "fsync=off",
                "synchronous_commit=off",
                "full_page_writes=off",
                "shared_buffers=32MB",
                // Files of the cluster, so that not even a killed server leaves memory behind.
                "dynamic_shared_memory_type=mmap",
            ]
            .map(ToOwned::to_owned),
        );
    }
    let mut args: Vec<OsString> = vec!["-D".into(), folder.cluster().into_os_string()];
    for setting in settings {
        args.extend(["-c".into(), setting.into()]);
    }
    Watchdog::start(Job {
        program: &installation.program("postgres"),
        args,
        folder: folder.root(),
        log: folder.new_log()?,
        account: folder.account(),
        remove: throwaway.then(|| folder.root()),
    })
}

/// Waits until the server accepts its superuser's password. Another server on the port would not.
async fn answers(
    folder: &Folder,
    watchdog: &mut Watchdog,
    port: u16,
    password: &str,
) -> Result<(), Error> {
    let options = PgConnectOptions::new_without_pgpass()
        .host("127.0.0.1")
        .port(port)
        .username("postgres")
        .password(password)
        .database("postgres")
        .ssl_mode(PgSslMode::Disable);
    let deadline = Instant::now() + START_LIMIT;
    loop {
        if let Some(status) = watchdog.ended()? {
            return Err(folder.failure("postgres", format!("ended at its start ({status})")));
        }
        let attempt = PgConnection::connect_with(&options);
        match tokio::time::timeout(Duration::from_secs(5), attempt).await {
            Ok(Ok(connection)) => {
                // If this fails, the server notices.
                let _ = connection.close().await;
                return Ok(());
            }
            Ok(Err(sqlx::Error::Database(error))) if error.code().as_deref() == Some("28P01") => {
                return Err(Error::Password { file: folder.password() });
            }
            _ => {}
        }
        if Instant::now() > deadline {
            let what = format!("didn't answer within {} s", START_LIMIT.as_secs());
            return Err(folder.failure("postgres", what));
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Whether another attempt, on another port, may succeed.
fn is_transient(failure: &Error) -> bool {
    match failure {
        Error::Failed { lines, .. } => ["could not bind", "pre-existing shared memory block"]
            .iter()
            .any(|message| lines.contains(message)),
        // Another server that took the port meanwhile refuses the password.
        Error::Password { .. } => true,
        _ => false,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::path::Path;

    use super::*;

    /// Starts the installation on new data, twice, and queries its version.
    pub(crate) async fn runs(installation: &Installation, folder: &Path) {
        let bin = installation.program("postgres");
        let places = Places { pg_bin: bin.parent().map(Path::to_owned), folders: Vec::new() };
        let options = Options { data_dir: folder.join("data"), durable: true, max_connections: 20 };
        for _ in 0..2 {
            let server = Server::start_from(&places, &options, false, &|_| ()).await.unwrap();
            let mut connection = PgConnection::connect(&server.url("postgres")).await.unwrap();
            let version: String =
                sqlx::query_scalar("SHOW server_version").fetch_one(&mut connection).await.unwrap();
            assert!(version.starts_with(installation.version()), "{version}");
            server.stop().await.unwrap();
        }
    }
}
