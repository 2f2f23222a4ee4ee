//! The worker: SMS per second in a process, and the Lambda binary's time for a batch of ten.

use std::{
    collections::VecDeque,
    env, fs,
    path::Path,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use aws_lambda_events::sqs::SqsEvent;
use local::{aws, secrets::Secrets};
use serde_json::{Value, json};
use shared::{
    db::{Database, Role},
    delivery::Pacing,
    messages::{self, NewMessage},
};
use tests::{
    events::sqs_event,
    lambda::{self, Function},
};
use tokio::task::JoinSet;
use worker::{Worker, carriers::sns::Sns, sms::Limits};

use crate::{
    load,
    process::{self, Measured},
    report::Report,
    stub,
    world::World,
};

/// Time until the carrier answers.
const CARRIER_ANSWERS_AFTER: Duration = Duration::from_millis(5);
/// Records of a batch.
const BATCH: usize = 10;
/// Batches at once.
const ENVIRONMENTS: usize = 16;
/// Approximate number of SMS of a run.
const SMS_COUNT: usize = 20_000;
/// Batches for the Lambda binary, one after the other.
const BATCHES: usize = 60;

/// Handles all jobs of the folder in parallel environments; prints the seconds and the CPU time.
#[tokio::main]
pub(crate) async fn work() {
    let variable = |name: &str| env::var(name).expect("a variable");
    let folder = variable("KINLINE_BENCH_FOLDER");
    let secrets = Secrets::at(&Path::new(&folder).join("secrets.json")).expect("secrets");
    let database = Database::new(&variable("DATABASE_URL"), 16).expect("a URL");
    let worker = Worker {
        db: database.pool_as(Role::Worker),
        sns: Sns::new(aws::sns(&variable("AWS_ENDPOINT_URL_SNS"))),
        keys: Arc::new(secrets.link_keys().expect("keys")),
        public_url: "https://kin.example".into(),
        limits: Limits::default(),
        stop_notices: None,
        pacing: Pacing { per_minute: 0 },
        default_cap: None,
    };
    let jobs = fs::read_to_string(Path::new(&folder).join("jobs")).expect("jobs");
    let jobs: Vec<&str> = jobs.lines().collect();
    let events: VecDeque<SqsEvent> = jobs
        .chunks(BATCH)
        .map(|batch| serde_json::from_value(event(batch)).expect("an event"))
        .collect();
    let events = Arc::new(Mutex::new(events));
    let (cpu, began) = (process::cpu(std::process::id()), Instant::now());
    let mut environments = JoinSet::new();
    for _ in 0..ENVIRONMENTS {
        let (worker, events) = (worker.clone(), Arc::clone(&events));
        environments.spawn(async move {
            loop {
                let Some(event) = events.lock().expect("events").pop_front() else { break };
                let deadline = Instant::now() + Duration::from_secs(30);
                let response = worker.handle_batch(event, deadline).await;
                assert!(response.batch_item_failures.is_empty(), "records came back");
            }
        });
    }
    environments.join_all().await;
    let (seconds, cpu) = (began.elapsed().as_secs_f64(), process::cpu(std::process::id()) - cpu);
    println!("{}", json!({ "seconds": seconds, "cpu": cpu }));
}

/// The worker's event for these jobs.
fn event(jobs: &[&str]) -> Value {
    let ids: Vec<String> = (0..jobs.len()).map(|i| format!("record-{i}")).collect();
    let records: Vec<(&str, &str)> =
        ids.iter().map(String::as_str).zip(jobs.iter().copied()).collect();
    sqs_event(&records)
}

/// Posts to threads of fifty members until there are this many jobs; returns their bodies.
async fn post(world: &World, jobs: usize) -> Vec<String> {
    let pool = Database::new(&world.url(), 1).expect("a URL").pool_as(Role::App);
    let new = NewMessage::new(Some("Bring the albums on Sunday".to_owned()), vec![], None);
    let new = new.expect("a message");
    let mut bodies = Vec::new();
    for place in world.of(50).into_iter().cycle() {
        let family = &place.family_id;
        let posted = messages::post(&pool, &place.actor(), place.thread_id, &new, None, None).await;
        bodies.extend(
            posted
                .expect("posted")
                .due
                .into_iter()
                .map(|user| json!({ "v": 2, "kind": "reach", "familyId": family, "threadId": place.thread_id, "userId": user }).to_string()),
        );
        if bodies.len() >= jobs {
            break;
        }
    }
    bodies.truncate(jobs);
    bodies
}

pub(crate) async fn measure(world: &World, report: &mut Report) {
    let carrier = format!("http://{}", stub::serve(CARRIER_ANSWERS_AFTER));
    let mut variables = world.variables();
    variables.push(("AWS_ENDPOINT_URL_SNS", carrier.clone()));
    let (mut rates, mut cpus) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        let jobs = post(world, SMS_COUNT).await;
        fs::write(world.folder().join("jobs"), jobs.join("\n")).expect("jobs");
        let mut process = Measured::role("worker", &variables);
        let said: Value = serde_json::from_str(&process.line()).expect("JSON");
        let figure = |name: &str| said[name].as_f64().expect("a figure");
        #[expect(clippy::cast_precision_loss, reason = "thousands")]
        let texts = jobs.len() as f64;
        rates.push(texts / figure("seconds"));
        cpus.push(figure("cpu") * 1e6 / texts);
    }
    report.add("worker: texts/s".to_owned(), load::median(rates));
    report.add("worker: CPU, µs a text".to_owned(), load::median(cpus));

    let mut environment = world.environment("kinline_worker");
    environment.push(("AWS_ENDPOINT_URL_SNS", carrier));
    let function = Function::start(&lambda::release("worker"), &environment).await;
    let jobs = post(world, BATCH * BATCHES).await;
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
