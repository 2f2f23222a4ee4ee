//! The database restarts while members post and SMS are sent.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use local::stack::{self, Parts, Stack};
use postgres::{Options, Server};
use serde_json::Value;
use sqlx::PgPool;
use tokio::{net::TcpListener, sync::watch, task::JoinSet, time::sleep};

use super::{
    Progress, Row,
    proxy::Proxy,
    trial::{Trial, post},
};
use crate::{Client, System};

/// Members that post at the same time, in one thread.
const POSTERS: usize = 4;
/// Acknowledged posts between two restarts.
const BETWEEN: usize = 20;
/// A client's back-off before it retries.
const RETRY_AFTER: Duration = Duration::from_millis(50);
/// Longest page of a history.
const PAGE: usize = 200;

pub(super) async fn run(times: usize, progress: Progress<'_>) -> Vec<Row> {
    let folder = Folder::new();
    let mut server = start(&folder).await;
    let url = server.url("postgres");
    stack::migrate(&url).await.expect("the schema");
    let proxy = Proxy::before(&url).await;
    let mut trial =
        Trial::on(system_on(&format!("{}?sslmode=disable", proxy.url(&url))).await, 3).await;
    let enough_sent = trial.system.stack.stop.child_token();
    let worker = tokio::spawn(trial.system.stack.poller().run(enough_sent.clone()));

    let (acknowledged, seen) = watch::channel(Vec::new());
    let acknowledged = Arc::new(acknowledged);
    let (stop, stopped) = watch::channel(false);
    let mut posters = JoinSet::new();
    for poster in 0..POSTERS {
        let (u0, thread) = (trial.u0.clone(), trial.thread.clone());
        posters.spawn(keep_posting(u0, thread, poster, Arc::clone(&acknowledged), stopped.clone()));
    }
    let mut longest = Duration::ZERO;
    for tried in 1..=times {
        more(&seen).await;
        let began = Instant::now();
        server.stop().await.expect("stopped");
        server = start(&folder).await;
        proxy.point_at(&server.url("postgres"));
        longest = longest.max(began.elapsed());
        progress(tried);
    }
    more(&seen).await;
    stop.send_replace(true);
    posters.join_all().await;
    // It finishes its batch first: simulated time must not pass for an SMS that is being sent.
    enough_sent.cancel();
    worker.await.expect("a worker");
    let answers: Vec<Value> = seen.borrow().clone();
    for answer in &answers {
        trial.acknowledge(answer);
    }
    let drained = trial.drain(async || trial.deliver(1).await).await;

    let read = history(&trial).await;
    let mut verdict = trial.verdict().await;
    let in_order = read.iter().zip(1..).all(|(message, seq)| message["seq"] == seq);
    verdict.must(in_order, || "the history's numbers have gaps or repeat".to_owned());
    for answer in &answers {
        let (id, seq) = (&answer["message"]["id"], &answer["message"]["seq"]);
        let times = read.iter().filter(|m| m["id"] == *id && m["seq"] == *seq).count();
        verdict.must(times == 1, || format!("{id} is in the history {times} times"));
        let body = &answer["message"]["body"];
        let times = read.iter().filter(|message| message["body"] == *body).count();
        verdict.must(times == 1, || format!("{body} was posted {times} times"));
    }
    let posted = answers.len();
    let fault = format!("database restarted under {posted} posts");
    // The server ends after the pools, and its folder after the server.
    trial.system.owner.close().await;
    drop(trial);
    server.stop().await.expect("stopped");
    vec![Row { fault, tried: times, verdict, drained: drained + longest }]
}

/// Waits until another post is acknowledged.
async fn more(seen: &watch::Receiver<Vec<Value>>) {
    let mut seen = seen.clone();
    let enough = seen.borrow().len() + BETWEEN;
    seen.wait_for(|answers| answers.len() >= enough).await.expect("posters");
}

/// Posts until it is stopped, and retries each post until it is acknowledged.
async fn keep_posting(
    u0: Client,
    thread: String,
    poster: usize,
    acknowledged: Arc<watch::Sender<Vec<Value>>>,
    stopped: watch::Receiver<bool>,
) {
    let mut number = 0;
    while !*stopped.borrow() {
        number += 1;
        loop {
            let answer = post(&u0, &thread, &format!("post {poster} {number}")).await;
            if answer.status == 201 {
                acknowledged.send_modify(|answers| answers.push(answer.json()));
                break;
            }
            assert!(answer.status >= 500, "{}", answer.as_text());
            sleep(RETRY_AFTER).await;
        }
    }
}

/// The whole history, as a new client reads it.
async fn history(trial: &Trial) -> Vec<Value> {
    let path = format!("/threads/{}/messages?limit={PAGE}", trial.thread);
    let mut all: Vec<Value> = Vec::new();
    let mut next = trial.u0.get(&path).await;
    loop {
        all.extend(next.at("/messages").as_array().cloned().unwrap_or_default());
        let Some(cursor) = next.at("/nextCursor").as_str().map(str::to_owned) else { break };
        next = trial.u0.get(&format!("{path}&before={cursor}")).await;
    }
    all.reverse();
    all
}

/// A system on its own server, which can be restarted, unlike that of the other tests.
async fn system_on(url: &str) -> System {
    let mut system = System::start().await;
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
    system.url = format!("http://{}", listener.local_addr().expect("an address"));
    system.owner = PgPool::connect_lazy(url).expect("a URL");
    system.stack = Stack::new(Parts {
        app_database_url: url.to_owned(),
        worker_database_url: url.to_owned(),
        secrets: system.secrets().clone(),
        carrier: system.stack.carrier.clone(),
        public_url: "https://kin.example".to_owned(),
        rules: functions::Rules::default(),
        peer: None,
    })
    .await
    .expect("a stack");
    system.stack.serve(listener);
    system
}

async fn start(folder: &Folder) -> Server {
    // Durable, since acknowledged posts must survive a restart.
    let options = Options { data_dir: folder.0.clone(), durable: true, max_connections: 100 };
    Server::start(&options, &|_| ()).await.expect("a server")
}

/// The server's folder, removed in the end. Not in a folder that is private to this user: if that is
/// root, the server runs as another user.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let name = format!("kinline-faults-{}", uuid::Uuid::new_v4().simple());
        Self(std::env::temp_dir().join(name))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // It is in the folder for temporary files, so an error does no harm.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
