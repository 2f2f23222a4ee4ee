//! Measures the cost of row-level security: a page of history, resolving a thread, and a post, on the
//! same rows with the policies on and off, in turns:
//! `cargo run --release -p tests --example rls -- [messages] [rounds]`.
//!
//! Starts its own server, and reads the CPU time of its processes (where there is `/proc`).

#![expect(clippy::expect_used, reason = "a benchmark reports errors to its reader only")]
#![expect(clippy::print_stdout, reason = "its table is its purpose")]

use std::{
    env, fs,
    time::{Duration, Instant},
};

use postgres::{Options, Server};
use shared::{
    db::{self, Database, MIGRATOR, Pool, Role},
    messages::{self, HistoryCursor, NewMessage, Range},
    threads::{self, Kind, MemberSet, NewThread},
};
use sqlx::PgPool;
use tests::dataset::{self, Place};

/// Calls of one side in a turn.
const TURN: usize = 50;
const MESSAGES: i64 = 1_000_000;
const ROUNDS: usize = 60;

/// A connection, its server process, and the measurements.
struct Side {
    pool: Pool,
    process: i32,
    /// The time of each call, in microseconds.
    times: Vec<f64>,
    /// The CPU time of a call, averaged over each turn, in microseconds.
    computed: Vec<f64>,
}

impl Side {
    async fn new(pool: Pool) -> Self {
        let mut tx = db::begin_unscoped(&pool).await.expect("a connection");
        let process = sqlx::query_scalar("SELECT pg_backend_pid()");
        let process = process.fetch_one(&mut *tx).await.expect("a process");
        tx.commit().await.expect("the end");
        Self { pool, process, times: Vec::new(), computed: Vec::new() }
    }

    /// The CPU time of its process, in microseconds; 0 where the kernel doesn't report it.
    fn computed(&self) -> f64 {
        let file = fs::read_to_string(format!("/proc/{}/schedstat", self.process));
        let nanoseconds = file.ok().and_then(|text| text.split(' ').next()?.parse::<f64>().ok());
        nanoseconds.unwrap_or_default() / 1e3
    }

    async fn turn(&mut self, work: &Work) {
        let before = self.computed();
        for _ in 0..TURN {
            let began = Instant::now();
            work.once(&self.pool).await;
            self.times.push(began.elapsed().as_secs_f64() * 1e6);
        }
        #[expect(clippy::cast_precision_loss, reason = "a count")]
        self.computed.push((self.computed() - before) / TURN as f64);
    }
}

/// The measured calls.
enum Work {
    History(Place, Range),
    Resolve(Place, NewThread),
    Post(Place, NewMessage),
}

impl Work {
    fn resolve(place: &Place) -> Self {
        let others = (0..place.members).map(|i| format!("u{i}").parse().expect("an id"));
        let members = MemberSet::new(Kind::Family, &place.user_id, others).expect("members");
        let new = NewThread { kind: Kind::Family, members, title: None, distinct: false };
        Self::Resolve(place.clone(), new)
    }

    fn post(place: &Place) -> Self {
        let text = "Bring the albums on Sunday, will you?".to_owned();
        Self::Post(place.clone(), NewMessage::new(Some(text), vec![], None).expect("a text"))
    }

    async fn once(&self, pool: &Pool) {
        match self {
            Self::History(at, range) => {
                let actor = at.actor();
                let page = messages::history(pool, &actor, at.thread_id, *range, 50);
                assert_eq!(page.await.expect("a page").messages.len(), 50);
            }
            Self::Resolve(at, new) => {
                let found = threads::resolve_or_create(pool, &at.actor(), new, None).await;
                assert!(!found.expect("found").1, "it was there");
            }
            Self::Post(at, new) => {
                let posted = messages::post(pool, &at.actor(), at.thread_id, new, None, None).await;
                assert!(!posted.expect("posted").replayed);
            }
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let mut arguments = env::args().skip(1);
    let messages = arguments.next().map_or(MESSAGES, |text| text.parse().expect("messages"));
    let rounds = arguments.next().map_or(ROUNDS, |text| text.parse().expect("rounds"));
    let folder = tempfile::tempdir().expect("a folder");
    let options =
        Options { data_dir: folder.path().join("data"), durable: true, max_connections: 20 };
    let server = Server::start(&options, &|step| println!("{step}")).await.expect("a server");
    let url = server.url("postgres");
    let owner = PgPool::connect(&url).await.expect("a database");
    MIGRATOR.run(&owner).await.expect("migrated");
    println!("writing {messages} messages");
    dataset::fill(&url, messages, |_, _| ()).await.expect("written");
    // Has every privilege of the API's role, and bypasses row-level security.
    for statement in ["CREATE ROLE unbound BYPASSRLS", "GRANT kinline_app TO unbound"] {
        sqlx::query(statement).execute(&owner).await.expect("a role");
    }

    let places = dataset::places(&url).await.expect("threads");
    let longest = &places[0];
    let middle = HistoryCursor { seq: longest.messages / 2, latest: longest.messages };
    let [pair, ten, fifty] = dataset::MEMBERS.map(|members| {
        let found = places.iter().rfind(|p| p.members == members && !p.is_distinct);
        found.expect("a thread")
    });
    let works = [
        ("history of 50, the newest", Work::History(longest.clone(), Range::Newest)),
        ("history of 50, half-way", Work::History(longest.clone(), Range::Before(middle))),
        ("resolve, 2 members", Work::resolve(pair)),
        ("resolve, 10 members", Work::resolve(ten)),
        ("post, 2 members", Work::post(pair)),
        ("post, 10 members", Work::post(ten)),
        ("post, 50 members", Work::post(fifty)),
    ];
    println!("PostgreSQL {}, one connection each, medians in µs", server.version());
    println!("| work | p50 off | p50 on | ratio | server's CPU off | on | ratio |");
    println!("|---|---|---|---|---|---|---|");
    for (name, work) in works {
        let database = Database::new(&url, 1).expect("a URL");
        let unbound = database.options().clone().options([("role", "unbound")]);
        let mut off = Side::new(Pool::new(unbound, 1, Duration::from_secs(3))).await;
        let mut on = Side::new(database.pool_as(Role::App)).await;
        for round in 0..=rounds {
            if round % 2 == 0 {
                off.turn(&work).await;
                on.turn(&work).await;
            } else {
                on.turn(&work).await;
                off.turn(&work).await;
            }
            if round == 0 {
                // Warms up: prepares, plans, reads pages into memory.
                for side in [&mut off, &mut on] {
                    side.times.clear();
                    side.computed.clear();
                }
            }
        }
        let times = [median(&mut off.times), median(&mut on.times)];
        let computed = [median(&mut off.computed), median(&mut on.computed)];
        let row = |[off, on]: [f64; 2]| format!("{off:.1} | {on:.1} | {:.3}", on / off);
        println!("| {name} | {} | {} |", row(times), row(computed));
    }
    owner.close().await;
    server.stop().await.expect("stopped");
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}
