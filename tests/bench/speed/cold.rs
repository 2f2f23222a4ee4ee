//! Starts: each Lambda binary as a process against a Runtime API, compared with one that says hello.

use std::{
    fs,
    io::{Cursor, Write},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use serde_json::Value;
use tests::{
    events::{http_event, schedule_event, sqs_event},
    lambda::{self, Function},
};
use zip::{ZipWriter, write::SimpleFileOptions};

use crate::{
    load, process,
    report::Report,
    stub::Stub,
    world::{Place, World},
};

/// Starts of each.
const STARTS: usize = 15;

/// A binary, its environment, and its first event.
struct Start {
    name: &'static str,
    binary: PathBuf,
    environment: Vec<(&'static str, String)>,
    event: Value,
}

pub(crate) async fn measure(world: &World, report: &mut Report) {
    let hello = Start {
        name: "hello",
        binary: process::built("hello"),
        environment: Vec::new(),
        event: http_event("GET", "/", &[], None),
    };
    let starts: Vec<Start> = std::iter::once(hello).chain(functions(world)).collect();
    let mut figures: Vec<[Vec<f64>; 3]> = starts.iter().map(|_| Default::default()).collect();
    // In turns, so that other load on the machine affects all equally.
    for _ in 0..STARTS {
        for (start, [init, first, memory]) in starts.iter().zip(&mut figures) {
            let began = Instant::now();
            let function = Function::start(&start.binary, &start.environment).await;
            let answer = function.invoke(&start.event, Duration::from_secs(30)).await;
            let took = began.elapsed();
            if let Err(error) = answer {
                panic!("{}: {error}", start.name);
            }
            init.push(function.init_time().expect("started").as_secs_f64() * 1e3);
            first.push(took.as_secs_f64() * 1e3);
            memory.push(process::peak_memory(function.pid()));
            function.kill().await;
        }
    }
    let mut of_hello = None;
    for (start, [init, first, memory]) in starts.iter().zip(figures) {
        let name = format!("start of {}", start.name);
        let init = load::median(init);
        report.add(format!("{name}: init, ms"), init);
        let of_hello = *of_hello.get_or_insert(init);
        report.add(format!("{name}: init / hello's"), init / of_hello);
        report.add(format!("{name}: first answer, ms"), load::median(first));
        report.add(format!("{name}: memory, MiB"), load::median(memory));
        report.add(format!("{name}: zip, MB"), zipped(&start.binary));
    }
}

/// Every function but `migrate`, whose first request is a deployment.
fn functions(world: &World) -> Vec<Start> {
    let place: &Place = world.of(10)[0];
    let bearer = format!("Bearer {}", world.token(place));
    let service = format!("Bearer {}", world.service_token());
    let (thread, family) = (place.thread.clone(), place.family.clone());
    let get =
        |path: String, bearer: &str| http_event("GET", &path, &[("authorization", bearer)], None);
    let json = |method, path: &str, bearer: &str, body: &str| {
        let headers = [("authorization", bearer), ("content-type", "application/json")];
        http_event(method, path, &headers, Some(body.as_bytes()))
    };
    let queue = Stub::serve(Duration::ZERO);
    let start = |name, event| {
        let role =
            if matches!(name, "worker" | "sweeper") { "kinline_worker" } else { "kinline_app" };
        let mut environment = world.environment(role);
        for service in ["SQS", "SNS"] {
            let variable =
                if service == "SQS" { "AWS_ENDPOINT_URL_SQS" } else { "AWS_ENDPOINT_URL_SNS" };
            environment.push((variable, queue.url()));
        }
        Start { name, binary: lambda::release(name), environment, event }
    };
    vec![
        start("health", get("/health".to_owned(), &bearer)),
        start("history", get(format!("/threads/{thread}/messages"), &bearer)),
        start("threads", json("POST", "/threads", &bearer, r#"{"memberIds":["u1"]}"#)),
        start(
            "messages",
            json("POST", &format!("/threads/{thread}/messages"), &bearer, r#"{"body":"Hello"}"#),
        ),
        start("members", json("PUT", &format!("/threads/{thread}/read"), &bearer, r#"{"seq":1}"#)),
        start(
            "families",
            json("PUT", &format!("/families/{family}"), &service, r#"{"name":"Family"}"#),
        ),
        start("links", json("POST", "/links/exchange", "", r#"{"token":"none"}"#)),
        start("web", get("/l".to_owned(), "")),
        start("docs", get("/docs".to_owned(), "")),
        start("export", get(format!("/families/{family}/export"), &service)),
        start("worker", sqs_event(&[])),
        start("sweeper", schedule_event()),
    ]
}

/// The size of a binary's zip, in megabytes.
fn zipped(binary: &Path) -> f64 {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    zip.start_file("bootstrap", SimpleFileOptions::default()).expect("a zip");
    zip.write_all(&fs::read(binary).expect("a binary")).expect("a zip");
    let bytes = zip.finish().expect("a zip").into_inner().len();
    #[expect(clippy::cast_precision_loss, reason = "millions")]
    let megabytes = bytes as f64 / 1e6;
    megabytes
}
