//! The API in its own process, served as by the local stack: read, resolve, post.

use std::{env, fs::File, path::Path, sync::Arc, time::Duration};

use functions::{Api, Rules, auth::Auth, edge, web::site::Site};
use local::{
    aws,
    http::{self, Timeouts},
    secrets::Secrets,
};
use platform::logging;
use reqwest::Method;
use serde_json::json;
use shared::{
    cursor::HistoryCursor,
    db::{Database, Role},
    queue::Queue,
};
use tests::dataset::{MEMBERS, Place};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing_subscriber::{layer::SubscriberExt, util::SubscriberInitExt};

use crate::{
    load::{self, Effort, Load, Request, Run},
    pgbench::{self, Statements},
    plot::{self, Line},
    process::{self, Measured},
    report::Report,
    stub,
    world::{CONNECTIONS, World},
};

/// Time until the queue answers.
const QUEUE_ANSWERS_AFTER: Duration = Duration::from_millis(5);
/// Messages of a page.
const PAGE: i64 = 50;

/// Serves the API until it is killed, and prints its address. On one thread, as the Lambda functions
/// do.
#[tokio::main(flavor = "current_thread")]
pub(crate) async fn serve() {
    let variable = |name: &str| env::var(name).expect("a variable");
    let folder = variable("KINLINE_BENCH_FOLDER");
    let log = File::create(Path::new(&folder).join("api.log")).expect("a log");
    tracing_subscriber::registry().with(logging::json(log)).with(logging::levels()).init();
    let secrets = Secrets::at(&Path::new(&folder).join("secrets.json")).expect("secrets");
    let database = Database::new(&variable("DATABASE_URL"), CONNECTIONS).expect("a URL");
    let api = Api::new(
        database.pool_as(Role::App),
        Auth::hs256(&secrets.auth().expect("a secret")),
        Site::new("https://kin.example").expect("an address"),
        Rules::default(),
    );
    let keys = Arc::new(secrets.link_keys().expect("keys"));
    let endpoint = variable("AWS_ENDPOINT_URL_SQS");
    let queue = Queue::new(aws::sqs(&endpoint), format!("{endpoint}/1/kinline-jobs"));
    let timeouts = Timeouts::default();
    let router = functions::all(&api, &keys, &queue).layer(http::request_timeout(timeouts));
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    println!("http://{}", listener.local_addr().expect("an address"));
    http::serve(listener, edge(router), timeouts, CancellationToken::new()).await;
}

/// Starts the API's process; returns it with its address.
fn start(world: &World) -> (Measured, String) {
    let mut variables = world.variables();
    let queue = stub::serve(QUEUE_ANSWERS_AFTER);
    variables.push(("AWS_ENDPOINT_URL_SQS", format!("http://{queue}")));
    let mut process = Measured::role("api", &variables);
    let url = process.line();
    (process, url)
}

/// A kind of request, and its one statement.
struct Work {
    name: String,
    load: Load,
    alone: Statements,
    /// Milliseconds that the response waits for the queue.
    waits: f64,
}

/// The requests of the comparison.
fn works(world: &World, url: &str) -> Vec<Work> {
    let of_all = |members| {
        let places = world.of(members);
        assert!(!places.is_empty(), "no thread of {members}");
        places
    };
    // The ids as the database stores them.
    let ids = |place: &Place| {
        let thread = place.thread_id.to_string();
        (place.family_id.to_string(), thread.trim_start_matches("th_").to_owned())
    };
    let mut works = Vec::new();

    let full: Vec<&Place> =
        world.places.iter().filter(|place| place.messages > PAGE).take(500).collect();
    let read = |place: &&Place| newest(world, place);
    works.push(Work {
        name: "history page of 50".to_owned(),
        load: Load::new(url, &full.iter().map(read).collect::<Vec<_>>()),
        alone: Statements::new(full.iter().map(|place| {
            let (family, thread) = ids(place);
            pgbench::history(&family, &thread)
        })),
        waits: 0.0,
    });

    let places = of_all(10);
    let others = |members: i64| (1..members).map(|i| format!("u{i}")).collect::<Vec<_>>();
    let resolve = |place: &&Place| Request {
        method: Method::POST,
        path: "/threads".to_owned(),
        token: world.token(place),
        body: json!({ "memberIds": others(10) }).to_string(),
    };
    works.push(Work {
        name: "resolve, thread exists".to_owned(),
        load: Load::new(url, &places.iter().map(resolve).collect::<Vec<_>>()),
        alone: Statements::new(
            places.iter().map(|place| pgbench::resolve(&ids(place).0, &member_key(10))),
        ),
        waits: 0.0,
    });

    for members in MEMBERS {
        let places = of_all(members);
        let post = |place: &&Place| Request {
            method: Method::POST,
            path: format!("/threads/{}/messages", place.thread_id),
            token: world.token(place),
            body: json!({ "body": "Bring the albums on Sunday, will you?" }).to_string(),
        };
        works.push(Work {
            name: format!("post, {members} members"),
            load: Load::new(url, &places.iter().map(post).collect::<Vec<_>>()),
            alone: Statements::new(places.iter().map(|place| {
                let (family, thread) = ids(place);
                pgbench::post(&family, &thread, place.user_id.as_str())
            })),
            waits: QUEUE_ANSWERS_AFTER.as_secs_f64() * 1e3,
        });
    }
    works
}

/// The schema's key of the member set `u0` to `u{members - 1}`.
fn member_key(members: i64) -> String {
    use sha2::{Digest, Sha256};

    let mut ids: Vec<String> = (0..members).map(|i| format!("u{i}")).collect();
    ids.sort_unstable();
    hex::encode(Sha256::digest(ids.join(",")))
}

fn newest(world: &World, place: &Place) -> Request {
    Request {
        method: Method::GET,
        path: format!("/threads/{}/messages?limit={PAGE}", place.thread_id),
        token: world.token(place),
        body: String::new(),
    }
}

/// Measures each kind of request and its statement alone, in turns.
pub(crate) async fn measure(world: &World, effort: Effort, report: &mut Report, out: &Path) {
    let (process, url) = start(world);
    let many = usize::try_from(CONNECTIONS).expect("a number");
    let mut lines = Vec::new();
    for work in works(world, &url) {
        let name = &work.name;
        // Warms up: connections, prepared statements, pages in memory.
        work.load.run(many, Duration::from_secs(1), process.pid());
        let (mut one, mut full, mut alone, mut alone_full) = (vec![], vec![], vec![], vec![]);
        for _ in 0..effort.rounds {
            one.push(work.load.run(1, effort.time, process.pid()));
            alone.push(work.alone.run(&world.url(), 1, effort.time).p50);
            full.push(work.load.run(many, effort.time, process.pid()));
            alone_full.push(work.alone.run(&world.url(), many, effort.time).rate);
        }
        let (one, full): (Run, Run) = (load::middle(&one), load::middle(&full));
        let (alone, alone_full) = (load::median(alone), load::median(alone_full));
        report.add(format!("{name}: requests/s, {many} connections"), full.rate);
        report.add(format!("{name}: pgbench, statements/s, {many} connections"), alone_full);
        report.add(format!("{name}: CPU, µs a request"), full.cpu);
        report.add(format!("{name}: CPU at 1 connection, µs a request"), one.cpu);
        report.add(format!("{name}: p50 at 1 connection, ms"), one.p50);
        report.add(format!("{name}: p99 at {many} connections, ms"), full.p99);
        report.add(format!("{name}: pgbench, p50 at 1 connection, ms"), alone);
        if work.waits > 0.0 {
            report.add(format!("{name}: p50 over pgbench's, ms"), one.p50 - alone);
        } else {
            report.add(format!("{name}: p50 / pgbench's"), one.p50 / alone);
        }
        let mut points = Vec::new();
        for connections in [1, 2, 4, 8, 16, 32] {
            let run = work.load.run(connections, Duration::from_secs(1), process.pid());
            #[expect(clippy::cast_precision_loss, reason = "a few")]
            points.push((connections as f64, run.rate));
        }
        lines.push(Line { name: name.clone(), points });
    }
    // The cost of any request without its statement.
    let page = Request {
        method: Method::GET,
        path: "/l".to_owned(),
        token: "none".to_owned(),
        body: String::new(),
    };
    let page = Load::new(&url, &[page]).run(1, effort.time, process.pid()).p50;
    report.add("an answer without the database: p50 at 1 connection, ms".to_owned(), page);
    let begin = Statements::begin().run(&world.url(), 1, effort.time).p50;
    report.add("a transaction's beginning: pgbench, p50 at 1 connection, ms".to_owned(), begin);
    report.add("API: memory, MiB".to_owned(), process::peak_memory(process.pid()));
    plot::draw(
        &out.join("throughput.svg"),
        "Requests a second by connections",
        "connections",
        &lines,
    );
    tokio::task::yield_now().await;
}

/// Measures pages of short and long threads, and pages further and further back in the longest.
pub(crate) async fn measure_depth(world: &World, effort: Effort, report: &mut Report, out: &Path) {
    let (process, url) = start(world);
    let longest = world.places.first().expect("a thread");
    let mut cases = Vec::new();
    for length in [100, 10_000, 100_000].into_iter().chain([longest.messages]) {
        // The thread with the nearest length, with a full page.
        let fits = |place: &&Place| place.messages > PAGE;
        let place =
            world.places.iter().filter(fits).min_by_key(|place| place.messages.abs_diff(length));
        let place = place.expect("a thread");
        cases.push((true, place.messages, newest(world, place)));
    }
    for share in [0, 25, 50, 75, 99] {
        let latest = longest.messages;
        let back = (latest * share / 100).min(latest - PAGE - 1);
        let cursor = HistoryCursor { seq: latest - back, latest }.encode();
        let mut request = newest(world, longest);
        request.path = format!("{}&before={cursor}", request.path);
        cases.push((false, back, request));
    }
    let loads: Vec<Load> =
        cases.iter().map(|(.., request)| Load::new(&url, std::slice::from_ref(request))).collect();
    let mut runs: Vec<Vec<f64>> = vec![Vec::new(); loads.len()];
    for round in 0..=effort.rounds {
        for (load, runs) in loads.iter().zip(&mut runs) {
            let p50 = load.run(1, effort.time, process.pid()).p50;
            // The first one warms up.
            if round > 0 {
                runs.push(p50);
            }
        }
    }
    let (mut by_length, mut by_depth) = (Vec::new(), Vec::new());
    for ((is_length, at, _), runs) in cases.iter().zip(runs) {
        let p50 = load::median(runs);
        let (name, points) =
            if *is_length { ("thread of", &mut by_length) } else { ("going back", &mut by_depth) };
        report.add(format!("history, {name} {at} messages: p50, ms"), p50);
        #[expect(clippy::cast_precision_loss, reason = "millions")]
        points.push((*at as f64, p50));
    }
    let spread = |points: &[(f64, f64)]| {
        let (least, most) = points
            .iter()
            .fold((f64::MAX, 0.0_f64), |(least, most), (_, p50)| (least.min(*p50), most.max(*p50)));
        (most / least - 1.0) * 100.0
    };
    report.add("history: spread by length, %".to_owned(), spread(&by_length));
    report.add("history: spread by depth, %".to_owned(), spread(&by_depth));
    let line = |name: &str, points| Line { name: name.to_owned(), points };
    plot::draw(
        &out.join("length.svg"),
        "A page's p50 by its thread's length, ms",
        "messages",
        &[line("newest page", by_length)],
    );
    plot::draw(
        &out.join("depth.svg"),
        "A page's p50 by how far back it is, ms",
        "messages back",
        &[line("longest thread", by_depth)],
    );
    tokio::task::yield_now().await;
}
