//! A database for each test, on one server that ends with its process.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::support::{another_process, folder, given_folder, in_use, until};
use kinline_postgres::testing;
use sqlx::migrate::Migrator;
use sqlx::{Connection, Executor, PgConnection};

static MIGRATOR: Migrator = sqlx::migrate!("tests/migrations");

/// Uses a database in a runtime of its own, as each `#[tokio::test]` does.
fn use_database() -> String {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let database = testing::database(&MIGRATOR).await;
        let mut connection = PgConnection::connect(database.url()).await.unwrap();
        // In a shared database, the same key would fail the second time.
        connection.execute("INSERT INTO names VALUES ('Ada')").await.unwrap();
        database.url().to_owned()
    })
}

#[test]
fn concurrent_tests_get_separate_databases() {
    let begin = Instant::now();
    use_database();
    println!("the first database in {:?}", begin.elapsed());

    let begin = Instant::now();
    let threads: Vec<_> = (0..20).map(|_| std::thread::spawn(use_database)).collect();
    let urls: BTreeSet<String> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    assert_eq!(urls.len(), 20);
    println!("20 at once in {:?}", begin.elapsed());

    let begin = Instant::now();
    for _ in 0..20 {
        use_database();
    }
    println!("20 more, one by one, in {:?}", begin.elapsed());
}

#[tokio::test]
#[ignore = "runs in another process, which ends or is killed"]
async fn hold() {
    let database = testing::database(&MIGRATOR).await;
    let mut connection = PgConnection::connect(database.url()).await.unwrap();
    let cluster: String =
        sqlx::query_scalar("SHOW data_directory").fetch_one(&mut connection).await.unwrap();
    let folder = given_folder();
    std::fs::write(folder.join("unfinished"), cluster).unwrap();
    std::fs::rename(folder.join("unfinished"), folder.join("cluster")).unwrap();
    if folder.join("stay").exists() {
        std::future::pending::<()>().await;
    }
}

fn server_folder(folder: &Path) -> PathBuf {
    let file = folder.join("cluster");
    until("there is a database", || file.exists());
    let cluster = std::fs::read_to_string(file).unwrap();
    Path::new(&cluster).parent().unwrap().to_owned()
}

#[test]
fn nothing_outlives_a_killed_process() {
    let folder = folder();
    std::fs::write(folder.path().join("stay"), "").unwrap();
    let mut parent = another_process("testing::hold", folder.path());
    let data = server_folder(folder.path());
    assert!(in_use(&data));

    parent.kill().unwrap();
    parent.wait().unwrap();
    until("all is gone", || !in_use(&data) && !data.exists());
}

#[test]
fn nothing_outlives_a_process_that_ends() {
    let folder = folder();
    let mut parent = another_process("testing::hold", folder.path());
    let data = server_folder(folder.path());

    assert!(parent.wait().unwrap().success());
    until("all is gone", || !in_use(&data) && !data.exists());
}
