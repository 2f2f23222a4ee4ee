//! A measured build of Kinline with its database: a durable PostgreSQL of its own, with the data set.

use std::{
    env,
    io::{IsTerminal, Write as _},
    path::{Path, PathBuf},
    time::Instant,
};

use local::secrets::{Secrets, TokenClaims};
use platform::config::ExposeSecret;
use postgres::{Options, Server};
use serde::{Deserialize, Serialize};
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use crate::process::{self, Measured};

/// Connections of the API.
pub(crate) const CONNECTIONS: u32 = 16;

/// A thread of the data set and one of its members.
#[derive(Serialize, Deserialize)]
pub(crate) struct Place {
    pub(crate) family: String,
    /// The thread's id, as the API has it.
    pub(crate) thread: String,
    pub(crate) user: String,
    pub(crate) members: i64,
    pub(crate) messages: i64,
    /// Whether resolving its members does not find it.
    pub(crate) is_distinct: bool,
}

impl Place {
    /// The thread's id, as the database has it.
    pub(crate) fn stored(&self) -> &str {
        self.thread.trim_start_matches("th_")
    }
}

pub(crate) struct World {
    server: Server,
    postmaster: u32,
    /// This program, or the baseline's build of it.
    program: PathBuf,
    folder: PathBuf,
    pub(crate) secrets: Secrets,
    /// The threads, the longest first.
    pub(crate) places: Vec<Place>,
}

impl World {
    /// Starts a server, and has `program`, a build of this one, fill it: a build has its own schema.
    pub(crate) async fn start(folder: PathBuf, program: PathBuf, messages: i64) -> Self {
        let _nothing_there = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).expect("a folder");
        let options =
            Options { data_dir: folder.join("postgres"), durable: true, max_connections: 100 };
        let server = Server::start(&options, &|_| ()).await.expect("PostgreSQL");
        let mut owner = PgConnection::connect(&server.url("postgres")).await.expect("PostgreSQL");
        let backend: i32 = sqlx::query_scalar("SELECT pg_backend_pid()")
            .fetch_one(&mut owner)
            .await
            .expect("a process");
        let postmaster = process::parent(backend.unsigned_abs());
        let secrets = Secrets::at(&folder.join("secrets.json")).expect("secrets");
        let mut world = Self { server, postmaster, program, folder, secrets, places: Vec::new() };
        world.places = world.create("kinline", messages).await;
        world
    }

    /// Creates a database with the schema and a data set of this many messages; returns its threads.
    pub(crate) async fn create(&self, database: &str, messages: i64) -> Vec<Place> {
        let mut owner = self.connect("postgres").await;
        sqlx::raw_sql(AssertSqlSafe(format!("CREATE DATABASE {database}")))
            .execute(&mut owner)
            .await
            .expect("made");
        let mut variables = self.variables(database);
        variables.push(("KINLINE_BENCH_MESSAGES", messages.to_string()));
        let mut filling = Measured::role(&self.program, "fill", &variables);
        let began = Instant::now();
        loop {
            let line = filling.line();
            if let Some((done, total)) = line.split_once(" of ") {
                bar(done.parse().expect("a number"), total.parse().expect("a number"), began);
            } else {
                return serde_json::from_str(&line)
                    .unwrap_or_else(|error| panic!("{line}: {error}"));
            }
        }
    }

    /// A superuser's connection to a database of the server.
    pub(crate) async fn connect(&self, database: &str) -> PgConnection {
        PgConnection::connect(&self.server.url(database)).await.expect("PostgreSQL")
    }

    pub(crate) fn url(&self) -> String {
        self.server.url("kinline")
    }

    pub(crate) fn version(&self) -> &str {
        self.server.version()
    }

    /// The first process of its PostgreSQL.
    pub(crate) fn postmaster(&self) -> u32 {
        self.postmaster
    }

    /// The program that serves it.
    pub(crate) fn program(&self) -> &Path {
        &self.program
    }

    /// A member's token.
    pub(crate) fn token(&self, place: &Place) -> String {
        self.token_of(&place.family, &place.user)
    }

    /// A user's token.
    pub(crate) fn token_of(&self, family: &str, user: &str) -> String {
        self.secrets.token(&TokenClaims::member(family, user)).expect("a token")
    }

    /// The host application's token.
    pub(crate) fn service_token(&self) -> String {
        self.secrets.token(&TokenClaims::service()).expect("a token")
    }

    /// All threads of this many members that resolving finds.
    pub(crate) fn all_of(&self, members: i64) -> Vec<&Place> {
        let fits = |place: &&Place| place.members == members && !place.is_distinct;
        self.places.iter().filter(fits).collect()
    }

    /// Up to 500 of them.
    pub(crate) fn of(&self, members: i64) -> Vec<&Place> {
        let mut places = self.all_of(members);
        assert!(!places.is_empty(), "no thread of {members}");
        places.truncate(500);
        places
    }

    /// The server's log, from the start of the run.
    pub(crate) fn log(&self) -> PathBuf {
        self.folder.join("postgres").join("server.log")
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The environment of a deployed function, with a login that may take this role.
    pub(crate) fn environment(&self, role: &str) -> Vec<(&'static str, String)> {
        vec![
            ("DATABASE_URL", format!("{}?sslmode=disable&options[role]={role}", self.url())),
            (
                "KINLINE_AUTH_SECRET",
                self.secrets.auth().expect("a secret").expose_secret().to_owned(),
            ),
            ("KINLINE_LINK_KEYS", self.secrets.link_pairs()),
            ("KINLINE_PUBLIC_URL", "https://kin.example".to_owned()),
            (
                "KINLINE_QUEUE_URL",
                "https://sqs.us-east-1.amazonaws.com/123456789012/jobs".to_owned(),
            ),
        ]
    }

    /// The environment of the processes on a database.
    pub(crate) fn variables(&self, database: &str) -> Vec<(&'static str, String)> {
        vec![
            ("DATABASE_URL", self.server.url(database)),
            ("KINLINE_BENCH_FOLDER", self.folder.display().to_string()),
        ]
    }

    pub(crate) async fn stop(self) {
        self.server.stop().await.expect("stopped");
        std::fs::remove_dir_all(&self.folder).expect("removed");
    }
}

/// This program.
pub(crate) fn this_program() -> PathBuf {
    env::current_exe().expect("this program")
}

/// Prints the progress of filling on one line; only its end if standard output is no terminal.
fn bar(done: i64, total: i64, began: Instant) {
    const WIDTH: i64 = 40;
    if std::io::stdout().is_terminal() || done == total {
        let full = usize::try_from(done * WIDTH / total.max(1)).unwrap_or_default();
        let rest = usize::try_from(WIDTH).unwrap_or_default().saturating_sub(full);
        let (full, rest) = ("#".repeat(full), "-".repeat(rest));
        print!("\r[{full}{rest}] {done} of {total} messages, {} s", began.elapsed().as_secs());
        let _shown = std::io::stdout().flush();
    }
    if done == total {
        println!();
    }
}
