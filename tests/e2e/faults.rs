//! The short form of the fault suite: each fault a few times, or just often enough to meet every limit.
//! The long form: `cargo run -p tests --example faults`.

use tests::faults::{self, SCENARIOS};

async fn holds(name: &str) {
    let scenario = SCENARIOS.iter().find(|scenario| scenario.name == name).expect("a scenario");
    let rows = scenario.run(scenario.short, &|_| ()).await;
    let broken = rows.iter().any(|row| !row.verdict.broken.is_empty());
    assert!(!broken, "\n{}", faults::table(&rows));
}

#[tokio::test]
async fn a_killed_worker_sends_nothing_twice() {
    holds("worker-killed").await;
}

#[tokio::test]
async fn posts_committed_by_a_killed_api_arrive() {
    holds("api-killed").await;
}

#[tokio::test]
async fn ten_minutes_without_a_queue_lose_nothing() {
    holds("queue-down").await;
}

#[tokio::test]
async fn jobs_that_the_queue_refuses_are_sent_later() {
    holds("batches-refused").await;
}

#[tokio::test]
async fn a_job_received_five_times_sends_once() {
    holds("jobs-repeated").await;
}

#[tokio::test]
async fn an_sms_to_a_hanging_carrier_is_never_sent_again() {
    holds("carrier-hangs").await;
}

#[tokio::test]
async fn throttled_sms_are_sent_later() {
    holds("carrier-throttles").await;
}

#[tokio::test]
async fn a_worker_frozen_past_its_lease_sends_once_and_records_it() {
    holds("worker-frozen").await;
}

#[tokio::test]
async fn acknowledged_posts_survive_database_restarts() {
    holds("database-restarted").await;
}

#[tokio::test]
async fn poisoned_records_become_dead_letters_and_can_be_redriven() {
    holds("poison").await;
}

#[tokio::test]
async fn a_wrong_clock_claims_nothing_twice() {
    holds("clocks").await;
}

#[tokio::test]
async fn a_post_whose_commit_answer_is_lost_is_posted_once() {
    holds("answer-lost").await;
}

#[tokio::test]
async fn many_sweepers_at_once_enqueue_once() {
    holds("sweepers").await;
}
