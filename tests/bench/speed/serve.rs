//! The roles of this program that the measured build takes: it fills its database, serves its API, runs its
//! worker. All that knows the product's code is here, and all that knows its schema is elsewhere, so that
//! this folder compiles in the checkout of another commit as well.

use std::{
    collections::VecDeque,
    env,
    fs::{self, File},
    path::Path,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use aws_lambda_events::sqs::SqsEvent;
use functions::{Api, Rules, auth::Auth, edge, web::site::Site};
use local::{
    aws,
    http::{self, Timeouts},
    secrets::Secrets,
    stack,
};
use platform::logging;
use serde_json::json;
use shared::{
    db::{Database, Role},
    queue::Queue,
};
use tests::dataset;
use tokio::{net::TcpListener, task::JoinSet};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::{layer::SubscriberExt, util::SubscriberInitExt};
use worker::Worker;

use crate::{
    process,
    worker::{BATCH, event},
    world::{CONNECTIONS, Place},
};

/// Batches at once.
const ENVIRONMENTS: usize = 16;

fn variable(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| panic!("{name} is missing"))
}

/// Writes the schema and the data set, unless it is to have no messages. Prints the progress, and then the
/// threads as JSON on one line.
#[tokio::main(flavor = "current_thread")]
pub(crate) async fn fill() {
    let url = variable("DATABASE_URL");
    let messages: i64 = variable("KINLINE_BENCH_MESSAGES").parse().expect("a number");
    stack::migrate(&url).await.expect("the schema");
    if messages > 0 {
        let progress = |done, total| println!("{done} of {total}");
        dataset::fill(&url, messages, progress).await.expect("data");
    }
    let places = dataset::places(&url).await.expect("threads");
    let places: Vec<Place> = places
        .into_iter()
        .map(|place| Place {
            family: place.family_id.to_string(),
            thread: place.thread_id.to_string(),
            user: place.user_id.to_string(),
            members: place.members,
            messages: place.messages,
            is_distinct: place.is_distinct,
        })
        .collect();
    println!("{}", serde_json::to_string(&places).expect("JSON"));
}

/// Serves the API until it is killed, and prints its address. On one thread, as the Lambda functions
/// do.
#[tokio::main(flavor = "current_thread")]
pub(crate) async fn api() {
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

/// Handles all jobs of the folder in parallel environments, with the worker of the Lambda function; prints
/// the seconds and the CPU time.
#[tokio::main]
pub(crate) async fn worker() {
    let folder = variable("KINLINE_BENCH_FOLDER");
    let worker = Worker::from_env().await.expect("a worker");
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
