//! How long a text takes from the post to the carrier, on a running local stack:
//! `cargo run --release -- --fresh` in one terminal,
//! `cargo run --release -p tests --example post_to_text` in another.

#![expect(
    clippy::expect_used,
    reason = "a benchmark has nobody to report an error to but its reader"
)]
#![expect(clippy::print_stdout, reason = "its table is its purpose")]

use std::time::{Duration, Instant, SystemTime};

use serde_json::{Value, json};
use tests::Client;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

const POSTS: usize = 200;

#[tokio::main]
async fn main() {
    let url = std::env::args().nth(1).unwrap_or_else(|| "http://127.0.0.1:3000".to_owned());
    let nobody = Client::new(&url, None);
    let token = async |body: Value| {
        let answer = nobody.post("/dev/token", &body).await;
        Client::new(&url, Some(answer.text("/token")))
    };
    let host = token(json!({ "role": "service" })).await;
    host.put("/families/bench", &json!({ "name": "Bench" })).await;
    for i in 0..2 {
        let user = json!({ "name": format!("Name{i}"), "phone": format!("+1555011000{i}") });
        host.put(&format!("/families/bench/users/u{i}"), &user).await;
    }
    let u0 = token(json!({ "userId": "u0", "familyId": "bench" })).await;
    let thread = u0.thread(&["u1".to_owned()]).await;
    u0.say(&thread, "to warm up").await;

    let run =
        SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_millis();
    let mut posted = Vec::with_capacity(POSTS);
    let mut answered = Vec::with_capacity(POSTS);
    for i in 0..POSTS {
        let (at, began) = (OffsetDateTime::now_utc(), Instant::now());
        u0.say(&thread, &format!("post {run}-{i}.")).await;
        answered.push(began.elapsed());
        posted.push(at);
        // 100 posts a second: an open loop, whatever the answers take.
        tokio::time::sleep(Duration::from_millis(10).saturating_sub(began.elapsed())).await;
    }

    let deadline = Instant::now() + Duration::from_secs(30);
    let took = loop {
        let texts = nobody.get("/dev/sms?to=+15550110001").await;
        let texts = texts.at("/messages");
        let took: Vec<Duration> = (0..POSTS)
            .filter_map(|i| {
                let mark = format!("post {run}-{i}. ");
                let text = texts
                    .as_array()?
                    .iter()
                    .find(|text| text["body"].as_str().is_some_and(|body| body.contains(&mark)))?;
                let at = OffsetDateTime::parse(text["at"].as_str()?, &Rfc3339).ok()?;
                // The carrier's times are of whole milliseconds: half of one is lost on average.
                Some((at - posted[i]).max(time::Duration::ZERO).unsigned_abs())
            })
            .collect();
        if took.len() == POSTS {
            break took;
        }
        assert!(Instant::now() < deadline, "{} of {POSTS} texts arrived", took.len());
    };
    println!("{POSTS} posts, ms         p50     p99");
    print("post -> answer", answered);
    print("post -> text", took);
}

fn print(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let at = |share: f64| {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "an index"
        )]
        let index = ((times.len() - 1) as f64 * share).round() as usize;
        times[index].as_secs_f64() * 1000.0
    };
    println!("{what:<18} {:>7.1} {:>7.1}", at(0.5), at(0.99));
}
