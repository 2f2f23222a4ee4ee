//! The API in its own process, served as by the local stack: read, resolve, create, post.

use std::{path::Path, time::Duration};

use reqwest::Method;
use serde_json::{Value, json};
use shared::cursor::HistoryCursor;
use tests::dataset::MEMBERS;

use crate::{
    load::{self, Effort, Load, Request, Run},
    pgbench::{self, Statements},
    plot::{self, Line},
    process::{self, Measured},
    report::Report,
    stub::Stub,
    world::{CONNECTIONS, Place, World},
};

/// Time until the queue answers.
const QUEUE_ANSWERS_AFTER: Duration = Duration::from_millis(5);
/// Messages of a page.
const PAGE: i64 = 50;
/// Threads that get all posts of a measurement.
const HOT: usize = 20;

/// A running API.
pub(crate) struct Served {
    process: Measured,
    pub(crate) url: String,
    postmaster: u32,
}

impl Served {
    /// Starts it on a database.
    pub(crate) fn start(world: &World, database: &str, queue: &Stub) -> Self {
        let mut variables = world.variables(database);
        variables.push(("AWS_ENDPOINT_URL_SQS", queue.url()));
        let mut process = Measured::role(world.program(), "api", &variables);
        let url = process.line();
        Self { process, url, postmaster: world.postmaster() }
    }

    /// The CPU time of its process and of its PostgreSQL so far, in seconds.
    pub(crate) fn cpu(&self) -> (f64, f64) {
        (process::cpu(self.process.pid()), process::postgres_cpu(self.postmaster))
    }
}

/// A kind of request.
struct Work {
    name: String,
    load: Load,
    /// Its one statement, by pgbench.
    alone: Option<Statements>,
    /// The least that a database can do for the same answer.
    barest: Option<Statements>,
    /// Milliseconds that the response waits for the queue.
    waits: f64,
}

impl Work {
    fn new(name: impl Into<String>, requests: &[Request]) -> Self {
        let load = Load::new(requests);
        Self { name: name.into(), load, alone: None, barest: None, waits: 0.0 }
    }

    fn post(world: &World, name: impl Into<String>, places: &[&Place]) -> Self {
        let body = json!({ "body": "Bring the albums on Sunday, will you?" });
        let post = |place: &&Place| {
            request(world, place, format!("/threads/{}/messages", place.thread), &body)
        };
        let requests: Vec<Request> = places.iter().map(post).collect();
        Self { waits: QUEUE_ANSWERS_AFTER.as_secs_f64() * 1e3, ..Self::new(name, &requests) }
    }
}

/// The requests of the comparison.
fn works(world: &World) -> Vec<Work> {
    let full: Vec<&Place> =
        world.places.iter().filter(|place| place.messages > PAGE).take(500).collect();
    let pages: Vec<Request> = full.iter().map(|place| newest(world, place)).collect();
    let mut works = vec![Work {
        alone: Some(Statements::new(
            full.iter().map(|place| pgbench::history(&place.family, place.stored())),
        )),
        barest: Some(Statements::new(full.iter().map(|place| pgbench::range(place.stored())))),
        ..Work::new("history page of 50", &pages)
    }];

    let of_ten = world.of(10);
    let others = |members: i64| (1..members).map(|i| format!("u{i}")).collect::<Vec<_>>();
    let to_threads = |body: Value| {
        let request = |place: &&Place| request(world, place, "/threads".to_owned(), &body);
        of_ten.iter().map(request).collect::<Vec<_>>()
    };
    let key = member_key(10);
    let resolve = of_ten.iter().map(|place| pgbench::resolve(&place.family, &key));
    works.push(Work {
        alone: Some(Statements::new(resolve)),
        ..Work::new("resolve, thread exists", &to_threads(json!({ "memberIds": others(10) })))
    });
    let new = json!({ "memberIds": others(8), "distinct": true });
    works.push(Work::new("new thread of 8", &to_threads(new)));

    for members in MEMBERS {
        let places = world.of(members);
        let alone =
            places.iter().map(|place| pgbench::post(&place.family, place.stored(), &place.user));
        works.push(Work {
            alone: Some(Statements::new(alone)),
            ..Work::post(world, format!("post, {members} members"), &places)
        });
    }
    let (spread, hot) = (world.all_of(10), &of_ten[..HOT.min(of_ten.len())]);
    works.push(Work::post(world, "post, 10 members, to every thread in turn", &spread));
    works.push(Work::post(world, format!("post, 10 members, to {HOT} hot threads"), hot));
    works
}

/// The schema's key of the member set `u0` to `u{members - 1}`.
fn member_key(members: i64) -> String {
    use sha2::{Digest, Sha256};

    let mut ids: Vec<String> = (0..members).map(|i| format!("u{i}")).collect();
    ids.sort_unstable();
    hex::encode(Sha256::digest(ids.join(",")))
}

/// A `POST` by the place's member.
fn request(world: &World, place: &Place, path: String, body: &Value) -> Request {
    Request { method: Method::POST, path, token: world.token(place), body: body.to_string() }
}

fn newest(world: &World, place: &Place) -> Request {
    Request {
        method: Method::GET,
        path: format!("/threads/{}/messages?limit={PAGE}", place.thread),
        token: world.token(place),
        body: String::new(),
    }
}

/// Measures each kind of request and its statement alone, in turns; each build in turns too.
pub(crate) async fn measure(worlds: &[World], effort: Effort, report: &mut Report, out: &Path) {
    let queue = Stub::serve(QUEUE_ANSWERS_AFTER);
    let apis: Vec<Served> =
        worlds.iter().map(|world| Served::start(world, "kinline", &queue)).collect();
    let sides: Vec<Vec<Work>> = worlds.iter().map(works).collect();
    let (world, api) = (&worlds[0], &apis[0]);
    let mut lines = Vec::new();
    for (i, work) in sides[0].iter().enumerate() {
        compare(i, &apis, &sides, world, effort, report);
        let mut points = Vec::new();
        for connections in [1, 2, 4, 8, 16, 32] {
            let run = work.load.run(connections, Duration::from_secs(1), api);
            #[expect(clippy::cast_precision_loss, reason = "a few")]
            points.push((connections as f64, run.rate));
        }
        lines.push(Line { name: work.name.clone(), points });
    }
    // The cost of any request without its statement.
    let page = Request {
        method: Method::GET,
        path: "/l".to_owned(),
        token: "none".to_owned(),
        body: String::new(),
    };
    let page = Load::new(&[page]).run(1, effort.time, api).p50;
    report.add("an answer without the database: p50 at 1 connection, ms".to_owned(), page);
    let begin = Statements::begin().run(world, 1, effort.time);
    report.add("a transaction's beginning: pgbench, p50 at 1 connection, ms".to_owned(), begin.p50);
    let name = "a transaction's beginning: PostgreSQL's CPU, µs".to_owned();
    report.add(name, begin.cpu);
    let memory: Vec<f64> = apis.iter().map(|api| process::peak_memory(api.process.pid())).collect();
    report.add_sides("API: memory, MiB", &memory);
    plot::draw(
        &out.join("throughput.svg"),
        "Requests a second by connections",
        "connections",
        &lines,
    );
    tokio::task::yield_now().await;
}

/// Measures the `i`th kind of request of every build, and the first one's statements alone.
fn compare(
    i: usize,
    apis: &[Served],
    sides: &[Vec<Work>],
    world: &World,
    effort: Effort,
    report: &mut Report,
) {
    let Work { name, alone, barest, waits, .. } = &sides[0][i];
    let many = usize::try_from(CONNECTIONS).expect("a number");
    for (api, works) in apis.iter().zip(sides) {
        // Warms up: connections, prepared statements, pages in memory.
        works[i].load.run(many, Duration::from_secs(1), api);
    }
    let (mut ones, mut fulls) = (vec![vec![]; apis.len()], vec![vec![]; apis.len()]);
    let (mut lone, mut alone_full, mut bare) = (vec![], vec![], vec![]);
    for _ in 0..effort.rounds {
        for (side, (api, works)) in apis.iter().zip(sides).enumerate() {
            ones[side].push(works[i].load.run(1, effort.time, api));
        }
        lone.extend(alone.as_ref().map(|alone| alone.run(world, 1, effort.time)));
        bare.extend(barest.as_ref().map(|barest| barest.run(world, 1, effort.time)));
        for (side, (api, works)) in apis.iter().zip(sides).enumerate() {
            fulls[side].push(works[i].load.run(many, effort.time, api));
        }
        alone_full.extend(alone.as_ref().map(|alone| alone.run(world, many, effort.time)));
    }
    let ones: Vec<Run> = ones.iter().map(|runs| load::middle(runs)).collect();
    let fulls: Vec<Run> = fulls.iter().map(|runs| load::middle(runs)).collect();
    let median = |runs: &[pgbench::Run], figure: fn(&pgbench::Run) -> f64| {
        load::median(runs.iter().map(figure).collect())
    };
    let mut add = |figure: &str, runs: &[Run], of: fn(&Run) -> f64| {
        report.add_sides(&format!("{name}: {figure}"), &runs.iter().map(of).collect::<Vec<_>>());
    };
    add(&format!("requests/s, {many} connections"), &fulls, |run| run.rate);
    add("CPU, µs a request", &fulls, |run| run.cpu);
    add("PostgreSQL's CPU, µs a request", &fulls, |run| run.postgres);
    add("CPU at 1 connection, µs a request", &ones, |run| run.cpu);
    add("PostgreSQL's CPU at 1 connection, µs a request", &ones, |run| run.postgres);
    add("p50 at 1 connection, ms", &ones, |run| run.p50);
    add(&format!("p99 at {many} connections, ms"), &fulls, |run| run.p99);
    let mut add = |figure: String, value| report.add(format!("{name}: {figure}"), value);
    if alone.is_some() {
        let p50 = median(&lone, |run| run.p50);
        let rate = median(&alone_full, |run| run.rate);
        add(format!("pgbench, statements/s, {many} connections"), rate);
        // Not at many: each connection plans every statement first.
        let cpu = median(&lone, |run| run.cpu);
        add("pgbench, PostgreSQL's CPU at 1 connection, µs".to_owned(), cpu);
        add("pgbench, p50 at 1 connection, ms".to_owned(), p50);
        if *waits > 0.0 {
            add("p50 over pgbench's, ms".to_owned(), ones[0].p50 - p50);
        } else {
            add("p50 / pgbench's".to_owned(), ones[0].p50 / p50);
        }
    }
    if barest.is_some() {
        let cpu = median(&bare, |run| run.cpu);
        add("barest statement, PostgreSQL's CPU at 1 connection, µs".to_owned(), cpu);
        let ratio = ones[0].postgres / cpu;
        add("PostgreSQL's CPU at 1 connection / the barest statement's".to_owned(), ratio);
    }
}

/// Measures pages of short and long threads, and pages further and further back in the longest.
pub(crate) async fn measure_depth(world: &World, effort: Effort, report: &mut Report, out: &Path) {
    let api = Served::start(world, "kinline", &Stub::serve(QUEUE_ANSWERS_AFTER));
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
    let requests: Vec<&Request> = cases.iter().map(|(.., request)| request).collect();
    // Warms up.
    load::in_turns(&api, &requests, effort.time);
    let factor = u32::try_from(requests.len() * effort.rounds).expect("a few");
    let p50s = load::in_turns(&api, &requests, effort.time * factor);
    let (mut by_length, mut by_depth) = (Vec::new(), Vec::new());
    for ((is_length, at, _), p50) in cases.iter().zip(p50s) {
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
