//! `PgBouncer` between a system and its database, in place of RDS Proxy.

use std::{
    env, fs,
    net::{Ipv4Addr, TcpListener, TcpStream},
    os::unix::{fs::chown, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    str::FromStr,
    thread,
    time::{Duration, Instant},
};

use shared::db::Role;
use sqlx::postgres::PgConnectOptions;
use tempfile::TempDir;
use url::Url;

/// Settings of a pooler.
#[derive(Debug, Clone, Copy)]
pub struct Pooling {
    /// Connections to the database for each role.
    pub connections: usize,
    /// Prepared statements that are tracked across connections; 0 for none.
    pub prepared_statements: usize,
    /// Whether a client keeps its connection until it disconnects, as a pinned one does.
    pub pinned: bool,
}

impl Default for Pooling {
    fn default() -> Self {
        Self { connections: 1, prepared_statements: 200, pinned: false }
    }
}

/// A running `PgBouncer`. It ends when this is dropped, or with this process.
pub struct Pooler {
    port: u16,
    child: Child,
    /// Standard input of the shell that ends it.
    alive: Option<ChildStdin>,
    folder: TempDir,
}

impl Pooler {
    /// The program to put in front of each system's database, from `KINLINE_TEST_POOLER`.
    #[must_use]
    pub fn program() -> Option<PathBuf> {
        env::var_os("KINLINE_TEST_POOLER").map(PathBuf::from)
    }

    /// Starts `program` (`PgBouncer` 1.21 or later) in front of the database at `database_url`.
    #[must_use]
    pub fn start(program: &Path, database_url: &str, pooling: Pooling) -> Self {
        let database = PgConnectOptions::from_str(database_url).expect("a URL");
        let parsed = Url::parse(database_url).expect("a URL");
        let folder = tempfile::tempdir().expect("a folder");
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .and_then(|listener| listener.local_addr())
            .expect("a free port")
            .port();
        let target = format!(
            "host=127.0.0.1 port={} dbname={} user={}{}",
            database.get_port(),
            database.get_database().expect("a name"),
            database.get_username(),
            parsed.password().map(|password| format!(" password={password}")).unwrap_or_default(),
        );
        let mode = if pooling.pinned { "session" } else { "transaction" };
        // PgBouncer refuses unknown startup parameters. Tests take a role by `options`; here PgBouncer's
        // own connections take it.
        let settings = format!(
            "[databases]
kinline_app = {target} connect_query='SET ROLE kinline_app'
kinline_worker = {target} connect_query='SET ROLE kinline_worker'
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = {mode}
default_pool_size = {connections}
max_client_conn = 1000
max_prepared_statements = {prepared}
ignore_startup_parameters = extra_float_digits, options
server_reset_query =
",
            connections = pooling.connections,
            prepared = pooling.prepared_statements,
        );
        let file = folder.path().join("pgbouncer.ini");
        fs::write(&file, settings).expect("written");
        // A shell that ends it when its standard input closes.
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", "\"$1\" -q \"$2\" & read -r _; kill -9 $!", "sh"])
            .args([program, &file])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(fs::File::create(folder.path().join("log")).expect("a log"));
        // PgBouncer refuses to run as root.
        if let Some((uid, gid)) = unprivileged_user() {
            chown(folder.path(), Some(uid), Some(gid)).expect("given");
            command.uid(uid).gid(gid);
        }
        let mut child = command.spawn().expect("a shell");
        let alive = child.stdin.take();
        let pooler = Self { port, child, alive, folder };
        let deadline = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            let log = fs::read_to_string(pooler.folder.path().join("log")).unwrap_or_default();
            assert!(Instant::now() < deadline, "PgBouncer does not listen: {log}");
            thread::sleep(Duration::from_millis(5));
        }
        pooler
    }

    /// The URL of the database for `role`.
    #[must_use]
    pub fn url(&self, role: Role) -> String {
        let database = match role {
            Role::App => "kinline_app",
            Role::Worker => "kinline_worker",
        };
        format!("postgres://kinline@127.0.0.1:{}/{database}?sslmode=disable", self.port)
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        drop(self.alive.take());
        let _ended = self.child.wait();
    }
}

/// A user and a group to run as, if this process is root.
fn unprivileged_user() -> Option<(u32, u32)> {
    let id = |arguments: &[&str]| {
        let output = Command::new("id").args(arguments).output().ok()?;
        String::from_utf8(output.stdout).ok()?.trim().parse::<u32>().ok()
    };
    (id(&["-u"])? == 0).then(|| id(&["-u", "nobody"]).zip(id(&["-g", "nobody"]))).flatten()
}
