//! The worker: SMS per second in a process, and the Lambda binary's time for a batch of ten.

use std::{
    fs,
    time::{Duration, Instant},
};

use reqwest::Method;
use serde_json::{Value, json};
use tests::{
    events::sqs_event,
    lambda::{self, Function},
};

use crate::{
    api::Served,
    load::{self, Client, Request},
    process::{self, Measured},
    report::Report,
    stub::Stub,
    world::World,
};

/// Time until the carrier answers.
const CARRIER_ANSWERS_AFTER: Duration = Duration::from_millis(5);
/// Records of a batch.
pub(crate) const BATCH: usize = 10;
/// Approximate number of jobs of a run.
const JOBS: usize = 20_000;
/// Batches for the Lambda binary, one after the other.
const BATCHES: usize = 60;

/// The worker's event for these jobs.
pub(crate) fn event(jobs: &[&str]) -> Value {
    let ids: Vec<String> = (0..jobs.len()).map(|i| format!("record-{i}")).collect();
    let records: Vec<(&str, &str)> =
        ids.iter().map(String::as_str).zip(jobs.iter().copied()).collect();
    sqs_event(&records)
}

/// Posts to new threads of fifty members, one to each, until there are this many jobs; returns what the API
/// sent to the queue.
fn post(world: &World, wanted: usize) -> Vec<String> {
    let queue = Stub::serve(Duration::ZERO);
    queue.keep();
    let api = Served::start(world, "kinline", &queue);
    let mut client = Client::of(&api);
    let others: Vec<String> = (1..50).map(|i| format!("u{i}")).collect();
    let mut jobs = Vec::new();
    for place in world.of(50).into_iter().cycle() {
        let mut request = Request {
            method: Method::POST,
            path: "/threads".to_owned(),
            token: world.token(place),
            body: json!({ "memberIds": others, "distinct": true }).to_string(),
        };
        let made: Value = serde_json::from_str(&client.send(&request)).expect("JSON");
        let thread = made["thread"]["id"].as_str().expect("an id");
        request.path = format!("/threads/{thread}/messages");
        request.body = json!({ "body": "Bring the albums on Sunday" }).to_string();
        client.send(&request);
        let more = queue.kept();
        assert!(!more.is_empty(), "a post enqueued nothing");
        jobs.extend(more);
        if jobs.len() >= wanted {
            break;
        }
    }
    jobs.truncate(wanted);
    jobs
}

/// The figures of a run.
struct Run {
    rate: f64,
    cpu: f64,
    postgres: f64,
}

/// Has a process of the worker handle jobs.
fn run(world: &World, carrier: &Stub) -> Run {
    let jobs = post(world, JOBS);
    fs::write(world.folder().join("jobs"), jobs.join("\n")).expect("jobs");
    let mut variables = world.environment("kinline_worker");
    variables.extend([
        ("KINLINE_BENCH_FOLDER", world.folder().display().to_string()),
        ("KINLINE_DATABASE_CONNECTIONS", "16".to_owned()),
        // A flood is what is measured here: neither its family's pace nor a cap.
        ("KINLINE_SMS_PER_MINUTE", "0".to_owned()),
        ("KINLINE_SMS_DEFAULT_CAP_SEGMENTS", "0".to_owned()),
        ("AWS_ENDPOINT_URL_SNS", carrier.url()),
        ("AWS_REGION", "us-east-1".to_owned()),
        ("AWS_ACCESS_KEY_ID", "test".to_owned()),
        ("AWS_SECRET_ACCESS_KEY", "test".to_owned()),
    ]);
    let (before, sent) = (process::postgres_cpu(world.postmaster()), carrier.sent());
    let mut process = Measured::role(world.program(), "worker", &variables);
    let said: Value = serde_json::from_str(&process.line()).expect("JSON");
    let postgres = process::postgres_cpu(world.postmaster()) - before;
    let figure = |name: &str| said[name].as_f64().expect("a figure");
    // By the carrier's count: a job may cause no SMS, and an SMS may be for several messages.
    #[expect(clippy::cast_precision_loss, reason = "thousands")]
    let texts = (carrier.sent() - sent) as f64;
    assert!(texts > 0.0, "the worker sent nothing");
    Run {
        rate: texts / figure("seconds"),
        cpu: figure("cpu") * 1e6 / texts,
        postgres: postgres * 1e6 / texts,
    }
}

pub(crate) async fn measure(worlds: &[World], report: &mut Report) {
    let carrier = Stub::serve(CARRIER_ANSWERS_AFTER);
    let mut runs: Vec<Vec<Run>> = worlds.iter().map(|_| Vec::new()).collect();
    for _ in 0..3 {
        for (world, runs) in worlds.iter().zip(&mut runs) {
            runs.push(run(world, &carrier));
        }
    }
    let mut add = |name: &str, figure: fn(&Run) -> f64| {
        let middle = |runs: &Vec<Run>| load::median(runs.iter().map(figure).collect());
        report.add_sides(name, &runs.iter().map(middle).collect::<Vec<_>>());
    };
    add("worker: texts/s", |run| run.rate);
    add("worker: CPU, µs a text", |run| run.cpu);
    add("worker: PostgreSQL's CPU, µs a text", |run| run.postgres);

    let world = &worlds[0];
    let mut environment = world.environment("kinline_worker");
    environment.push(("AWS_ENDPOINT_URL_SNS", carrier.url()));
    let function = Function::start(&lambda::release("worker"), &environment).await;
    let jobs = post(world, BATCH * BATCHES);
    let mut times = Vec::new();
    for batch in jobs.chunks(BATCH) {
        let batch: Vec<&str> = batch.iter().map(String::as_str).collect();
        let began = Instant::now();
        let answer = function.invoke(&event(&batch), Duration::from_secs(30)).await;
        times.push(began.elapsed().as_secs_f64() * 1e3);
        let failures = answer.expect("an answer")["batchItemFailures"].as_array().map(Vec::len);
        assert_eq!(failures.unwrap_or_default(), 0, "{}", function.log());
    }
    // The first batch connects.
    let p50 = load::median(times.split_off(1));
    report.add("worker, batch of 10: p50, ms".to_owned(), p50);
    let carrier = CARRIER_ANSWERS_AFTER.as_secs_f64() * 1e3;
    report.add("worker, batch of 10: p50 over the carrier's, ms".to_owned(), p50 - carrier);
}
