//! A PostgreSQL server that lives as long as this process wants it, and no longer than this process.

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

/// How long a server may take until it answers; recovery after a crash is part of it.
const START_LIMIT: Duration = Duration::from_mins(1);
/// Starts tried when the port was taken in between, or backends of a killed server still go.
const TRIES: u32 = 10;

/// What server to start.
#[derive(Clone, Debug)]
pub struct Options {
    /// A folder of its own for the server: data, password, log. Created if it isn't there.
    pub data_dir: PathBuf,
    /// Whether data has to survive a crash of the machine. Without, everything is faster.
    pub durable: bool,
    /// PostgreSQL's limit of connections at a time.
    pub max_connections: u16,
}

/// A running server. It stops when this process ends, whatever ends it.
///
/// Dropping it stops the server too, and blocks the thread while that takes; prefer [`Server::stop`].
pub struct Server {
    port: u16,
    password: String,
    installation: Installation,
    watchdog: Watchdog,
    /// After the watchdog: the lock has to be held until the server is gone.
    _folder: Folder,
}

impl Server {
    /// Starts a server on the data folder and returns when it accepts connections, on loopback only
    /// and on a port chosen anew each time. Finds the server programs, or fetches them.
    ///
    /// `progress` gets one short line per step that takes time.
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
            // The error carries what there was to learn from it.
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
        // First of all, so that a folder in use is known before anything is fetched.
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
            if tries == TRIES || !is_passing(&failure) {
                return Err(failure);
            }
            tries += 1;
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// The URL of a database on this server, with the superuser's password. The name is taken as it
    /// is; `postgres` is a database that is always there.
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

    /// The path of one of the programs that it came with, which may not be there.
    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.installation.program(name)
    }

    /// Stops the server and waits until it is gone: connections are cut, data is written. One that
    /// takes longer than 2 s is ended by force; its data is recovered at the next start.
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
        // Their default place may not be there, or not be ours to write.
        "unix_socket_directories=".to_owned(),
        format!("max_connections={}", options.max_connections),
        "timezone=UTC".to_owned(),
        "log_timezone=UTC".to_owned(),
        // Parameters are people's numbers and words.
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

/// Waits until the server lets its superuser in. A server of somebody else on the port wouldn't.
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
                // It served its purpose; the server notices if this fails.
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

/// Whether another try, on another port, may do better.
fn is_passing(failure: &Error) -> bool {
    match failure {
        Error::Failed { lines, .. } => ["could not bind", "pre-existing shared memory block"]
            .iter()
            .any(|message| lines.contains(message)),
        // A server of somebody else that took the port in between refuses ours.
        Error::Password { .. } => true,
        _ => false,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::path::Path;

    use super::*;

    /// Starts the installation on new data, twice, and asks it its version.
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
