//! The server's life cycle: starts, restarts, crashes and what they leave behind.

use std::fs::Permissions;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use crate::support::{another_process, folder, given_folder, in_use, kill, processes, until};
use kinline_postgres::{Error, Options, Server};
use sqlx::{Connection, Executor, PgConnection};

fn options(data_dir: &Path) -> Options {
    Options { data_dir: data_dir.to_owned(), durable: false, max_connections: 20 }
}

async fn start(data_dir: &Path) -> Result<Server, Error> {
    Server::start(&options(data_dir), &|_| ()).await
}

async fn connect(server: &Server) -> PgConnection {
    PgConnection::connect(&server.url("postgres")).await.unwrap()
}

/// The server's own pid.
fn server_pid(data_dir: &Path) -> String {
    let content = std::fs::read_to_string(data_dir.join("cluster/postmaster.pid")).unwrap();
    content.lines().next().unwrap().to_owned()
}

#[tokio::test]
#[ignore = "runs in another process, which the tests below kill"]
async fn hold() {
    let data = given_folder();
    let _server = start(&data).await.unwrap();
    std::fs::write(data.with_extension("started"), "").unwrap();
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn data_survives_a_restart() {
    let folder = folder();
    let data = folder.path().join("data");
    for durable in [true, false] {
        let options = Options { durable, ..options(&data) };
        let server = Server::start(&options, &|_| ()).await.unwrap();
        let mut connection = connect(&server).await;
        connection
            .execute("CREATE TABLE IF NOT EXISTS kept (n int); INSERT INTO kept VALUES (1)")
            .await
            .unwrap();
        let fsync: String =
            sqlx::query_scalar("SHOW fsync").fetch_one(&mut connection).await.unwrap();
        assert_eq!(fsync, if durable { "on" } else { "off" });
        // The connection is still open: stopping doesn't wait for it.
        server.stop().await.unwrap();
        assert!(!in_use(&data), "{:?}", processes(data.to_str().unwrap()));
    }

    let server = start(&data).await.unwrap();
    let mut connection = connect(&server).await;
    let kept: i64 =
        sqlx::query_scalar("SELECT count(*) FROM kept").fetch_one(&mut connection).await.unwrap();
    assert_eq!(kept, 2);
    let version: String =
        sqlx::query_scalar("SHOW server_version").fetch_one(&mut connection).await.unwrap();
    assert!(version.starts_with(server.version()), "{version}");
    assert!(server.url("x").ends_with(&format!(":{}/x", server.port())));
    let mode = data.join("password").metadata().unwrap().mode();
    assert_eq!(mode & 0o777, 0o600);

    drop(server);
    assert!(!in_use(&data), "{:?}", processes(data.to_str().unwrap()));
}

#[test]
fn nothing_outlives_a_killed_process() {
    let folder = folder();
    let data = folder.path().join("data");
    let mut parent = another_process("server::hold", &data);
    until("it has started", || data.with_extension("started").exists());
    assert!(in_use(&data));

    parent.kill().unwrap();
    parent.wait().unwrap();
    until("all is gone", || !in_use(&data));
}

#[tokio::test]
async fn the_script_ends_with_the_server() {
    let folder = folder();
    let data = folder.path().join("data");
    let mut parent = another_process("server::hold", &data);
    until("it has started", || data.with_extension("started").exists());

    kill([server_pid(&data)]);
    // The script is a zombie until its parent waits for it, and has no command line as such.
    until("all is gone", || !in_use(&data));
    parent.kill().unwrap();
    parent.wait().unwrap();

    // Also removes the shared memory that a killed server leaves.
    start(&data).await.unwrap().stop().await.unwrap();
}

#[tokio::test]
async fn an_orphan_is_stopped_and_its_data_taken_over() {
    let folder = folder();
    let data = folder.path().join("data");
    let mut parent = another_process("server::hold", &data);
    until("it has started", || data.with_extension("started").exists());
    let orphan = server_pid(&data);
    let scripts = processes(data.to_str().unwrap())
        .into_iter()
        .filter(|(_, command)| command.contains("kinline-watchdog"));
    kill(scripts.map(|(pid, _)| pid));
    parent.kill().unwrap();
    parent.wait().unwrap();
    assert_eq!(server_pid(&data), orphan);

    let told = std::sync::Mutex::new(Vec::new());
    let server = Server::start(&options(&data), &|line| {
        told.lock().unwrap().push(line.to_owned());
    })
    .await
    .unwrap();
    connect(&server).await;
    let told = told.into_inner().unwrap().join("\n");
    assert!(told.contains(&format!("pid {orphan}")), "{told}");
    assert_ne!(server_pid(&data), orphan);
}

#[tokio::test]
async fn a_killed_server_is_recovered() {
    let folder = folder();
    let data = folder.path().join("data");
    let server = start(&data).await.unwrap();
    kill([server_pid(&data)]);
    drop(server);

    let server = start(&data).await.unwrap();
    connect(&server).await;
}

#[tokio::test]
async fn a_folder_in_use_is_refused() {
    let folder = folder();
    let data = folder.path().join("data");
    let _server = start(&data).await.unwrap();

    let message = start(&data).await.err().unwrap().to_string();
    let expected = format!("in use by another Kinline (pid {})", std::process::id());
    assert!(message.contains(&expected), "{message}");
    assert!(message.contains("--data-dir"), "{message}");
}

#[tokio::test]
async fn a_pid_that_another_process_has_by_now_does_not_stop_a_start() {
    let folder = folder();
    let data = folder.path().join("data");
    start(&data).await.unwrap().stop().await.unwrap();

    // PostgreSQL checks only processes of its own user.
    let cluster = data.join("cluster");
    let owner = cluster.metadata().unwrap();
    let mut command = Command::new("sleep");
    command.arg("60").current_dir("/");
    if data.join("lock").metadata().unwrap().uid() == 0 {
        command.uid(owner.uid()).gid(owner.gid());
    }
    let mut other = command.spawn().unwrap();
    let line = format!("{}\n{}\n", other.id(), cluster.display());
    std::fs::write(cluster.join("postmaster.pid"), line).unwrap();

    let server = start(&data).await.unwrap();
    connect(&server).await;
    assert!(other.try_wait().unwrap().is_none(), "it was killed");
    other.kill().unwrap();
    other.wait().unwrap();
}

#[tokio::test]
async fn an_interrupted_first_start_does_not_stop_the_next() {
    let folder = folder();
    // On a busy machine the kill can come too late, so there is more than one try.
    let interrupted = (0..10).map(|number| folder.path().join(number.to_string())).find(|data| {
        let mut parent = another_process("server::hold", data);
        until("initdb is at work", || {
            data.read_dir().is_ok_and(|entries| {
                let mut paths = entries.flatten().map(|entry| entry.path());
                paths.any(|path| path.join("base").exists())
            })
        });
        parent.kill().unwrap();
        parent.wait().unwrap();
        !data.join("cluster").exists()
    });
    let data = interrupted.unwrap();

    let server = start(&data).await.unwrap();
    connect(&server).await;
    server.stop().await.unwrap();
    start(&data).await.unwrap().stop().await.unwrap();
    let unfinished = |name: &str| name.starts_with("unfinished");
    let mut entries = data.read_dir().unwrap().map(|entry| entry.unwrap());
    assert!(!entries.any(|entry| unfinished(&entry.file_name().to_string_lossy())));
}

#[tokio::test]
async fn data_of_another_version_is_refused() {
    let folder = folder();
    let data = folder.path().join("data");
    std::fs::create_dir_all(data.join("cluster")).unwrap();
    std::fs::write(data.join("cluster/PG_VERSION"), "9\n").unwrap();
    std::fs::write(data.join("lock"), "").unwrap();

    let message = start(&data).await.err().unwrap().to_string();
    assert!(message.contains("made by PostgreSQL 9"), "{message}");
    assert!(message.contains("--fresh"), "{message}");
}

#[tokio::test]
async fn a_folder_with_other_files_is_refused() {
    let folder = folder();
    let data = folder.path().join("data");
    std::fs::create_dir(&data).unwrap();
    std::fs::write(data.join("thesis.txt"), "").unwrap();

    let error = start(&data).await.err().unwrap();
    assert!(matches!(error, Error::NotOurs { .. }), "{error}");
    assert_eq!(data.read_dir().unwrap().count(), 1);
}

#[tokio::test]
async fn a_folder_that_the_servers_user_cannot_reach_is_named_in_the_error() {
    let folder = folder();
    std::fs::set_permissions(folder.path(), Permissions::from_mode(0o700)).unwrap();
    let result = start(&folder.path().join("data")).await;
    // The server's user differs from this process's for root only.
    if folder.path().metadata().unwrap().uid() == 0 {
        let message = result.err().unwrap().to_string();
        assert!(message.contains("doesn't run as root"), "{message}");
        assert!(message.contains("--data-dir"), "{message}");
    } else {
        result.unwrap().stop().await.unwrap();
    }
}

#[tokio::test]
async fn a_failed_start_says_why() {
    let folder = folder();
    let data = folder.path().join("data");
    start(&data).await.unwrap().stop().await.unwrap();
    let settings = data.join("cluster/postgresql.conf");
    std::fs::write(settings, "no_such_setting = 1\n").unwrap();

    let message = start(&data).await.err().unwrap().to_string();
    assert!(message.contains("no_such_setting"), "{message}");
    assert!(message.contains("server.log"), "{message}");
}

#[tokio::test]
async fn a_lost_password_is_reported() {
    let folder = folder();
    let data = folder.path().join("data");
    start(&data).await.unwrap().stop().await.unwrap();
    for content in ["", "wrong"] {
        std::fs::write(data.join("password"), content).unwrap();
        let error = start(&data).await.err().unwrap();
        assert!(matches!(error, Error::Password { .. }), "{error}");
    }
    assert!(!in_use(&data));
}
