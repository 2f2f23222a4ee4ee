//! The measured database: a durable PostgreSQL with the data set.

use std::{
    io::IsTerminal,
    io::Write as _,
    path::{Path, PathBuf},
    time::Instant,
};

use local::{
    secrets::{Secrets, TokenClaims},
    stack,
};
use platform::config::ExposeSecret;
use postgres::{Options, Server};
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tests::dataset::{self, Place};

/// Connections of the API.
pub(crate) const CONNECTIONS: u32 = 16;

pub(crate) struct World {
    server: Server,
    folder: PathBuf,
    pub(crate) secrets: Secrets,
    /// The threads, the longest first.
    pub(crate) places: Vec<Place>,
}

impl World {
    /// Starts a server and fills it.
    pub(crate) async fn start(out: &Path, messages: i64) -> Self {
        let folder = out.join("world");
        let _nothing_there = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).expect("a folder");
        let options =
            Options { data_dir: folder.join("postgres"), durable: true, max_connections: 100 };
        let server = Server::start(&options, &|_| ()).await.expect("PostgreSQL");
        let mut owner = PgConnection::connect(&server.url("postgres")).await.expect("PostgreSQL");
        sqlx::query(AssertSqlSafe("CREATE DATABASE kinline"))
            .execute(&mut owner)
            .await
            .expect("made");
        let url = server.url("kinline");
        stack::migrate(&url).await.expect("the schema");
        let began = Instant::now();
        dataset::fill(&url, messages, |done, total| bar(done, total, began)).await.expect("data");
        println!();
        let places = dataset::places(&url).await.expect("threads");
        let secrets = Secrets::at(&folder.join("secrets.json")).expect("secrets");
        Self { server, folder, secrets, places }
    }

    pub(crate) fn url(&self) -> String {
        self.server.url("kinline")
    }

    /// A member's token.
    pub(crate) fn token(&self, place: &Place) -> String {
        let claims = TokenClaims::member(place.family_id.as_str(), place.user_id.as_str());
        self.secrets.token(&claims).expect("a token")
    }

    /// Threads of this many members that resolving finds.
    pub(crate) fn of(&self, members: i64) -> Vec<&Place> {
        let fits = |place: &&Place| place.members == members && !place.is_distinct;
        self.places.iter().filter(fits).take(500).collect()
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

    /// The environment of the measured processes.
    pub(crate) fn variables(&self) -> Vec<(&'static str, String)> {
        vec![
            ("DATABASE_URL", self.url()),
            ("KINLINE_BENCH_FOLDER", self.folder.display().to_string()),
        ]
    }

    pub(crate) async fn stop(self) {
        self.server.stop().await.expect("stopped");
        std::fs::remove_dir_all(&self.folder).expect("removed");
    }
}

/// Prints the progress of filling on one line; only its end if standard output is no terminal.
fn bar(done: i64, total: i64, began: Instant) {
    const WIDTH: i64 = 40;
    if !std::io::stdout().is_terminal() && done < total {
        return;
    }
    let full = usize::try_from(done * WIDTH / total.max(1)).unwrap_or_default();
    let rest = usize::try_from(WIDTH).unwrap_or_default().saturating_sub(full);
    let seconds = began.elapsed().as_secs();
    print!("\r[{}{}] {done} of {total} messages, {seconds} s", "#".repeat(full), "-".repeat(rest));
    let _shown = std::io::stdout().flush();
}
