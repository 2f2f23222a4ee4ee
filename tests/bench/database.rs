//! Measures the database's time for a post, a page of history, a claim of ten jobs and its record, for
//! a number of clients with a connection each, directly and through `PgBouncer`:
//! `cargo run --release -p tests --example database -- <clients> <rounds> <url> [pgbouncer]`.
//!
//! The database must have families with threads and members; it gets more messages.

#![expect(clippy::expect_used, reason = "a benchmark reports errors to its reader only")]
#![expect(clippy::print_stdout, reason = "its table is its purpose")]

use std::{
    env,
    path::PathBuf,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use shared::{
    actor::Actor,
    db::{Database, Pool, Role},
    delivery::{self, Attempt, Outcome, Pacing, Wanted},
    ids::{FamilyId, ThreadId, UserId},
    messages::{self, NewMessage, Range},
    queue::{Job, Recipient},
};
use sqlx::PgPool;
use tests::pooler::{Pooler, Pooling};

/// The steps of a round, in order.
const KINDS: [&str; 4] = ["post", "history of 50", "claim of ten", "record of ten"];
/// Posts of a round: with three recipients each, they give the jobs of one claim.
const POSTS: usize = 3;

type Place = (FamilyId, ThreadId, UserId);

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [clients, rounds, url, rest @ ..] = arguments.as_slice() else {
        println!("database <clients> <rounds> <url> [pgbouncer]");
        return;
    };
    let number = |text: &String| text.parse::<usize>().expect("a number");
    let (clients, rounds) = (number(clients), number(rounds));
    let owner = PgPool::connect(url).await.expect("a database");
    let places: Vec<Place> = sqlx::query_as(
        "SELECT family_id, thread_id, user_id FROM thread_members WHERE user_id = 'u0'
         ORDER BY random() LIMIT $1",
    )
    .bind(i64::try_from(clients * rounds * POSTS).expect("a number"))
    .fetch_all(&owner)
    .await
    .expect("places");

    print!("{clients} clients, p50 / p99 ms ");
    println!("| {} | rounds a second", KINDS.join(" | "));
    let direct = |_| url.clone();
    // Twice, so that the order makes no difference.
    for _ in 0..2 {
        run("straight", clients, &places, direct).await;
        let Some(program) = rest.first().map(PathBuf::from) else { continue };
        let four = Pooling { connections: 4, ..Pooling::default() };
        let pooler = Pooler::start(&program, url, four);
        run("4 connections for all", clients, &places, |role| pooler.url(role)).await;
        let pinned = Pooling { connections: clients, pinned: true, ..Pooling::default() };
        let pooler = Pooler::start(&program, url, pinned);
        run("one connection each, pinned", clients, &places, |role| pooler.url(role)).await;
    }
}

async fn run(name: &str, clients: usize, places: &[Place], url: impl Fn(Role) -> String) {
    let pool = |role| Database::new(&url(role), 1).expect("a URL").pool_as(role);
    let pools: Vec<(Pool, Pool)> =
        (0..clients).map(|_| (pool(Role::App), pool(Role::Worker))).collect();
    // Connects and prepares every statement.
    join_all(pools.iter().zip(places.chunks(POSTS)).map(|(pools, at)| round(pools, at))).await;
    let began = Instant::now();
    let shares = places.chunks(places.len().div_ceil(clients));
    let all = join_all(pools.iter().zip(shares).map(|(pools, share)| async move {
        let mut times = Vec::new();
        for at in share.chunks(POSTS) {
            times.push(round(pools, at).await);
        }
        times
    }))
    .await
    .concat();
    let took = began.elapsed();
    print!("{name:<28}");
    for kind in 0..KINDS.len() {
        let mut times: Vec<Duration> = all.iter().map(|times| times[kind]).collect();
        times.sort_unstable();
        let at = |percent: usize| times[(times.len() - 1) * percent / 100].as_secs_f64() * 1e3;
        print!("| {:6.2} / {:6.2} ", at(50), at(99));
    }
    #[expect(clippy::cast_precision_loss, reason = "a count")]
    let rate = all.len() as f64 / took.as_secs_f64();
    println!("| {rate:.1}");
}

/// Posts, reads a page, claims, and records outcomes; returns the time of each.
async fn round((app, worker): &(Pool, Pool), places: &[Place]) -> [Duration; 4] {
    let new = NewMessage::new(Some("Bring the albums on Sunday".to_owned()), vec![], None);
    let new = new.expect("a message");
    let (mut jobs, mut due) = (Wanted::default(), 0);
    let began = Instant::now();
    for (family, thread, user) in places {
        let actor = Actor::member(family.clone(), user.clone());
        let posted = messages::post(app, &actor, *thread, &new, None, None).await;
        for user_id in posted.expect("posted").due {
            let (family_id, thread_id) = (family.clone(), *thread);
            jobs.add(&Job::Reach(Recipient { family_id, thread_id, user_id }));
            due += 1;
        }
    }
    let posted = began.elapsed() / u32::try_from(places.len()).expect("a number");

    let began = Instant::now();
    let (family, thread, user) = &places[0];
    let actor = Actor::member(family.clone(), user.clone());
    let page = messages::history(app, &actor, *thread, Range::Newest, 50).await;
    assert!(!page.expect("a page").messages.is_empty());
    let read = began.elapsed();

    let began = Instant::now();
    let claim =
        delivery::claim(worker, &jobs, None, Pacing { per_minute: 0 }).await.expect("claimed");
    let (lease, claimed) = (claim.lease, claim.claimed);
    let claim = began.elapsed();
    assert_eq!(claimed.len(), due);
    let attempts: Vec<Attempt> = claimed
        .into_iter()
        .map(|claimed| Attempt {
            sms: claimed.sms,
            phone: claimed.phone,
            called: true,
            outcome: Outcome::Sent {
                carrier_message_id: "bench".to_owned(),
                segments: 1,
                stop_notice: false,
            },
        })
        .collect();
    let began = Instant::now();
    delivery::record(worker, lease, &attempts).await.expect("recorded");
    [posted, read, claim, began.elapsed()]
}
