//! What a post writes, and the size of a database after many.

use std::{thread, time::Duration};

use reqwest::Method;
use serde_json::{Value, json};
use sqlx::PgConnection;

use crate::{
    api::Served,
    load::{self, Client, Request},
    report::Report,
    stub::Stub,
    world::World,
};

/// Posts whose rows and bytes are counted.
const COUNTED: usize = 1000;
/// Users of a family in the database whose size is measured; all are members of its one thread.
const USERS: usize = 10;
/// Most families of that database.
const FAMILIES: usize = 100;

/// The server's counts so far.
#[derive(sqlx::FromRow)]
struct Counts {
    inserted: i64,
    updated: i64,
    deleted: i64,
    wal: i64,
}

#[expect(clippy::cast_precision_loss, reason = "counts, and sizes in bytes")]
pub(crate) async fn measure(worlds: &[World], posts: i64, report: &mut Report) {
    let (mut counts, mut sizes) = (Vec::new(), Vec::new());
    for world in worlds {
        counts.push(count(world).await);
        sizes.push(grow(world, usize::try_from(posts).expect("a number")).await as f64);
    }
    let mut add = |figure: &str, of: fn(&Counts) -> i64| {
        let values: Vec<f64> =
            counts.iter().map(|counts| of(counts) as f64 / COUNTED as f64).collect();
        report.add_sides(&format!("post, 50 members: {figure}"), &values);
    };
    add("rows inserted a post", |counts| counts.inserted);
    add("rows updated a post", |counts| counts.updated);
    add("rows deleted a post", |counts| counts.deleted);
    add("bytes of WAL a post", |counts| counts.wal);
    let name = format!("{posts} posts to families of {USERS}");
    let megabytes: Vec<f64> = sizes.iter().map(|size| size / 1e6).collect();
    report.add_sides(&format!("{name}: database, MB"), &megabytes);
    let each: Vec<f64> = sizes.iter().map(|size| size / posts as f64).collect();
    report.add_sides(&format!("{name}: bytes a post"), &each);
}

/// Counts what posts to threads of fifty write. The first ones are not counted: after a checkpoint, the first
/// change of a page writes all of it.
async fn count(world: &World) -> Counts {
    let body = json!({ "body": "Bring the albums on Sunday, will you?" });
    let post = |place: &crate::world::Place| Request {
        method: Method::POST,
        path: format!("/threads/{}/messages", place.thread),
        token: world.token(place),
        body: body.to_string(),
    };
    let requests: Vec<Request> = world.of(50).into_iter().map(post).collect();
    let mut connection = world.connect("kinline").await;
    sqlx::raw_sql("CHECKPOINT").execute(&mut connection).await.expect("done");
    let queue = Stub::serve(Duration::ZERO);
    let send = |count| {
        let api = Served::start(world, "kinline", &queue);
        load::send(&api, &requests, count);
    };
    send(COUNTED);
    let before = counts(&mut connection).await;
    send(COUNTED);
    let after = counts(&mut connection).await;
    Counts {
        inserted: after.inserted - before.inserted,
        updated: after.updated - before.updated,
        deleted: after.deleted - before.deleted,
        wal: after.wal - before.wal,
    }
}

/// The counts, when the last connection of the API has ended: a session adds its own when it ends.
async fn counts(connection: &mut PgConnection) -> Counts {
    loop {
        let others: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM pg_stat_activity
             WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()
               AND datname = current_database()",
        )
        .fetch_one(&mut *connection)
        .await
        .expect("sessions");
        if others == 0 {
            break;
        }
        thread::sleep(Duration::from_millis(10));
    }
    sqlx::query_as(
        "SELECT sum(n_tup_ins)::bigint AS inserted, sum(n_tup_upd)::bigint AS updated,
                sum(n_tup_del)::bigint AS deleted,
                (pg_current_wal_insert_lsn() - '0/0')::bigint AS wal
         FROM pg_stat_user_tables",
    )
    .fetch_one(connection)
    .await
    .expect("counts")
}

/// Bytes by which posts let an empty database of families grow. No SMS is sent meanwhile.
async fn grow(world: &World, posts: usize) -> i64 {
    world.create("posts", 0).await;
    let queue = Stub::serve(Duration::ZERO);
    let api = Served::start(world, "posts", &queue);
    let mut client = Client::of(&api);
    let host = world.service_token();
    let mut put = |path: String, body: Value| {
        let (method, token) = (Method::PUT, host.clone());
        client.send(&Request { method, path, token, body: body.to_string() });
    };
    let families: Vec<String> =
        (0..(posts / 1000).clamp(1, FAMILIES)).map(|i| format!("p{i}")).collect();
    let mut phone = 0;
    for family in &families {
        put(format!("/families/{family}"), json!({ "name": "Bench" }));
        for user in 0..USERS {
            let path = format!("/families/{family}/users/u{user}");
            put(
                path,
                json!({ "name": format!("Name{user}"), "phone": format!("+1555{phone:07}") }),
            );
            phone += 1;
        }
    }
    let users: Vec<String> = (0..USERS).map(|i| format!("u{i}")).collect();
    let mut threads = Vec::new();
    for family in &families {
        let made = client.send(&Request {
            method: Method::POST,
            path: "/threads".to_owned(),
            token: world.token_of(family, "u0"),
            body: json!({ "memberIds": users }).to_string(),
        });
        let made: Value = serde_json::from_str(&made).expect("JSON");
        threads.push(made["thread"]["id"].as_str().expect("an id").to_owned());
    }
    // Users post in turn.
    let post = |(user, (family, thread)): (&String, (&String, &String))| Request {
        method: Method::POST,
        path: format!("/threads/{thread}/messages"),
        token: world.token_of(family, user),
        body: json!({ "body": "Bring the albums on Sunday, will you?" }).to_string(),
    };
    let places = || families.iter().zip(&threads);
    let requests: Vec<Request> =
        users.iter().flat_map(|user| places().map(move |place| (user, place))).map(post).collect();
    let mut connection = world.connect("posts").await;
    let before = size(&mut connection).await;
    load::send(&api, &requests, posts);
    size(&mut connection).await - before
}

/// The size of the connection's database, in bytes.
async fn size(connection: &mut PgConnection) -> i64 {
    sqlx::query_scalar("SELECT pg_database_size(current_database())")
        .fetch_one(connection)
        .await
        .expect("a size")
}
