//! The database commits a post, and its answer is lost.

use super::{
    Progress, Row,
    process::{TIMEOUT, messages, post_event},
    proxy::Proxy,
    trial::Trial,
};
use crate::lambda::HttpAnswer;

pub(super) async fn run(times: usize, progress: Progress<'_>) -> Vec<Row> {
    let mut trial = Trial::of(3).await;
    let proxy = Proxy::before(trial.system.database_url()).await;
    let through = proxy.url(trial.system.database_url());
    let api = messages(&trial.system, &through, None).await;
    let (mut lost, mut told, mut replayed) = (0, 0, 0);
    for tried in 1..=times {
        let event = post_event(&trial.system, &trial.thread, &format!("lost {tried}"));
        proxy.lose_next_commit();
        let first = api.invoke(&event, TIMEOUT).await.expect("an answer");
        lost += usize::from(!proxy.waits_for_commit());
        let first = HttpAnswer::from_gateway(&first);
        told += usize::from(first.status == 503 && first.headers.contains_key("retry-after"));

        let again = api.invoke(&event, TIMEOUT).await.expect("an answer");
        let again = HttpAnswer::from_gateway(&again);
        let replay = again.headers.get("idempotency-replayed").is_some_and(|v| v == "true");
        replayed += usize::from(again.status == 201 && replay);
        if again.status == 201 {
            trial.acknowledge(&again.json());
        }
        progress(tried);
    }
    let drained = trial.drain(async || trial.deliver(1).await).await;
    let mut verdict = trial.verdict().await;
    verdict.must(lost == times, || format!("{lost} of {times} answers were lost"));
    verdict.must(told == times, || format!("{told} of {times} clients were told to try again"));
    verdict.must(replayed == times, || format!("{replayed} of {times} retries were replays"));
    let posted = trial.system.count("messages").await;
    let once = usize::try_from(posted) == Ok(times);
    verdict.must(once, || format!("{posted} messages of {times} posts"));
    let reached = verdict.reached;
    verdict.must(reached == 2 * times, || format!("{reached} reached of 2 by {times} messages"));
    // One to each, which covers all.
    let sms = trial.sms();
    verdict.must(sms == 2, || format!("{sms} SMS to 2"));
    vec![Row { fault: "answer lost at COMMIT".to_owned(), tried: times, verdict, drained }]
}
