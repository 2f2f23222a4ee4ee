//! A database for each test, on one server for the test process.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use sqlx::migrate::Migrator;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use tokio::sync::{mpsc, oneshot};

use crate::{Options, Server};

/// A database of one test. It is removed when the test process ends.
#[derive(Clone, Debug)]
pub struct TestDatabase {
    url: String,
    pg_dump: PathBuf,
}

impl TestDatabase {
    /// The URL to connect to, as a superuser.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// A dump as SQL, by the server's own `pg_dump`; `None` if the installation has none.
    ///
    /// # Panics
    /// If `pg_dump` fails.
    #[must_use]
    pub fn dump(&self) -> Option<String> {
        if !self.pg_dump.is_file() {
            return None;
        }
        let output = Command::new(&self.pg_dump).arg("--dbname").arg(&self.url).output();
        let output = output.unwrap_or_else(|error| panic!("can't run pg_dump: {error}"));
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "pg_dump failed: {said}");
        Some(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

/// A request for a database, and the channel for the answer.
type Request = (&'static Migrator, oneshot::Sender<Result<TestDatabase, String>>);

/// A fresh database, cloned from a template to which `migrator` was applied.
///
/// The first call of a process starts a server, on data in a temporary folder; both are removed when
/// the process ends, a kill included. Roles belong to the server: migrations that create one must
/// accept an existing one if a process uses more than one migrator.
///
/// # Panics
/// If no server can be started, or a migration fails: the test can't run then.
pub async fn database(migrator: &'static Migrator) -> TestDatabase {
    static REQUESTS: OnceLock<mpsc::UnboundedSender<Request>> = OnceLock::new();

    let (reply, answer) = oneshot::channel();
    let sent = REQUESTS.get_or_init(start_thread).send((migrator, reply));
    match (sent, answer.await) {
        (Ok(()), Ok(Ok(database))) => database,
        (Ok(()), Ok(Err(message))) => panic!("no test database: {message}"),
        _ => panic!("no test database: the thread of the test server ended"),
    }
}

/// Starts a thread with its own runtime, since each test's runtime ends with the test.
fn start_thread() -> mpsc::UnboundedSender<Request> {
    let (sender, requests) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime.block_on(serve(requests)),
            Err(error) => panic!("no runtime for the test server: {error}"),
        }
    });
    sender
}

/// Answers one request after the other, since copies of one template conflict.
async fn serve(mut requests: mpsc::UnboundedReceiver<Request>) {
    let mut databases = Databases::start().await;
    while let Some((migrator, reply)) = requests.recv().await {
        let answer = match &mut databases {
            Ok(databases) => databases.create(migrator).await.map_err(|error| error.to_string()),
            Err(message) => Err(message.clone()),
        };
        // The test may have stopped waiting.
        let _ = reply.send(answer);
    }
}

/// The folder for the server: in memory if there is enough, else the folder for temporary files. A
/// database is 300 files, whose creation takes 10 to 250 ms on a disk, and 6 ms in memory.
fn place() -> PathBuf {
    /// Room for 500 databases. Containers often have only 64 MiB there.
    const ENOUGH_KIB: u64 = 4 << 20;

    let memory = Path::new("/dev/shm");
    let available = Command::new("df")
        .arg("-Pk")
        .arg(memory)
        .output()
        .ok()
        .and_then(|output| String::from_utf8(output.stdout).ok())
        .and_then(|table| {
            let line = table.lines().nth(1)?;
            line.split_whitespace().nth(3)?.parse::<u64>().ok()
        });
    if available.is_some_and(|kib| kib >= ENOUGH_KIB) {
        memory.to_owned()
    } else {
        std::env::temp_dir()
    }
}

struct Databases {
    server: Server,
    connection: PgConnection,
    templates: Vec<(&'static Migrator, String)>,
    created: usize,
}

impl Databases {
    async fn start() -> Result<Self, String> {
        let name = format!("kinline-test-{}", uuid::Uuid::new_v4().simple());
        let options =
            Options { data_dir: place().join(name), durable: false, max_connections: 400 };
        let server =
            Server::start_throwaway(&options, &|_| ()).await.map_err(|error| error.to_string())?;
        let connection = PgConnection::connect(&server.url("postgres"))
            .await
            .map_err(|error| error.to_string())?;
        Ok(Self { server, connection, templates: Vec::new(), created: 0 })
    }

    async fn create(&mut self, migrator: &'static Migrator) -> Result<TestDatabase, sqlx::Error> {
        let template = self.template(migrator).await?;
        let name = format!("test_{}", self.created);
        self.created += 1;
        self.copy(&name, &template).await?;
        let pg_dump = self.server.program("pg_dump");
        Ok(TestDatabase { url: self.server.url(&name), pg_dump })
    }

    /// The template of a migrator, made at its first use.
    async fn template(&mut self, migrator: &'static Migrator) -> Result<String, sqlx::Error> {
        let known = self.templates.iter().find(|(known, _)| std::ptr::eq(*known, migrator));
        if let Some((_, name)) = known {
            return Ok(name.clone());
        }
        let name = format!("template_of_tests_{}", self.created);
        self.created += 1;
        self.copy(&name, "template0").await?;
        let mut connection = PgConnection::connect(&self.server.url(&name)).await?;
        migrator.run(&mut connection).await?;
        connection.close().await?;
        self.templates.push((migrator, name.clone()));
        Ok(name)
    }

    async fn copy(&mut self, name: &str, template: &str) -> Result<(), sqlx::Error> {
        // Copying files is twice as fast as going through the log, since this server never syncs.
        let statement = format!("CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy");
        let mut tries = 1;
        loop {
            match self.connection.execute(AssertSqlSafe(statement.clone())).await {
                Ok(_) => return Ok(()),
                // 55006: the connection that migrated the template isn't closed yet.
                Err(sqlx::Error::Database(error))
                    if error.code().as_deref() == Some("55006") && tries < 5 =>
                {
                    tries += 1;
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                Err(error) => return Err(error),
            }
        }
    }
}
