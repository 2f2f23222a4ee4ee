//! From the post to the SMS: the whole local stack, as `cargo run` starts it, at 100 posts a second.

use std::{
    path::Path,
    process::Command,
    time::{Duration, Instant, SystemTime},
};

use serde_json::{Value, json};
use tests::Client;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::{
    process::{self, Measured},
    report::Report,
};

const POSTS: usize = 600;
/// Time between two posts.
const INTERVAL: Duration = Duration::from_millis(10);

pub(crate) async fn measure(out: &Path, report: &mut Report) {
    let folder = out.join("texts");
    let mut command = Command::new(process::built("kinline"));
    command.args(["--fresh", "--no-demo", "--port", "0", "--data-dir"]).arg(&folder);
    let mut kinline = Measured::start(command);
    let url = loop {
        if let Some(rest) = kinline.line().strip_prefix("API") {
            break rest.split_whitespace().next().expect("an address").to_owned();
        }
    };
    let anonymous = Client::new(&url, None);
    let token = async |body: Value| {
        let answer = anonymous.post("/dev/token", &body).await;
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
    let (mut posted, mut answered) = (Vec::new(), Vec::new());
    let began = Instant::now();
    for i in 0..POSTS {
        let due = began + INTERVAL * u32::try_from(i).expect("a number");
        tokio::time::sleep_until(due.into()).await;
        posted.push(OffsetDateTime::now_utc());
        let asked = Instant::now();
        u0.say(&thread, &format!("post {run}-{i}.")).await;
        answered.push(asked.elapsed());
    }
    #[expect(clippy::cast_precision_loss, reason = "hundreds")]
    let rate = POSTS as f64 / began.elapsed().as_secs_f64();

    let deadline = Instant::now() + Duration::from_secs(30);
    let took = loop {
        let texts = anonymous.get("/dev/sms?to=+15550110001").await;
        let texts = texts.at("/messages");
        let took: Vec<Duration> = (0..POSTS)
            .filter_map(|i| {
                let mark = format!("post {run}-{i}. ");
                let text = texts
                    .as_array()?
                    .iter()
                    .find(|text| text["body"].as_str().is_some_and(|body| body.contains(&mark)))?;
                let at = OffsetDateTime::parse(text["at"].as_str()?, &Rfc3339).ok()?;
                // The carrier's times are in whole milliseconds, and half a millisecond early on average.
                Some((at - posted[i]).max(time::Duration::ZERO).unsigned_abs())
            })
            .collect();
        if took.len() == POSTS {
            break took;
        }
        assert!(Instant::now() < deadline, "{} of {POSTS} texts arrived", took.len());
    };
    report.add("post to text: posts/s".to_owned(), rate);
    for (what, mut times) in [("post to answer", answered), ("post to text", took)] {
        times.sort_unstable();
        for percent in [50, 99] {
            let at = times[(times.len() - 1) * percent / 100];
            report.add(format!("{what}: p{percent}, ms"), at.as_secs_f64() * 1e3);
        }
    }
    drop(kinline);
    std::fs::remove_dir_all(&folder).expect("removed");
}
