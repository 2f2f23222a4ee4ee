//! The fault suite in its short form: each fault a few times, and all that must hold.
//! The long form: `cargo run -p tests --example faults`.

use tests::faults::{self, SCENARIOS};

async fn holds(name: &str) {
    let scenario = SCENARIOS.iter().find(|scenario| scenario.name == name).expect("a scenario");
    let rows = scenario.run(scenario.short, &|_| ()).await;
    let broken = rows.iter().any(|row| !row.verdict.broken.is_empty());
    assert!(!broken, "\n{}", faults::table(&rows));
}

#[tokio::test]
async fn a_worker_that_is_killed_anywhere_sends_nothing_twice() {
    holds("worker-killed").await;
}

#[tokio::test]
async fn what_a_killed_api_committed_arrives() {
    holds("api-killed").await;
}

#[tokio::test]
async fn ten_minutes_without_a_queue_lose_nothing() {
    holds("queue-down").await;
}

#[tokio::test]
async fn what_the_queue_refuses_is_sent_later() {
    holds("batches-refused").await;
}

#[tokio::test]
async fn a_job_that_comes_five_times_is_sent_once() {
    holds("jobs-repeated").await;
}

#[tokio::test]
async fn a_carrier_that_hangs_is_never_asked_again() {
    holds("carrier-hangs").await;
}

#[tokio::test]
async fn what_the_carrier_throttles_is_sent_later() {
    holds("carrier-throttles").await;
}

#[tokio::test]
async fn a_worker_frozen_past_its_lease_sends_once_and_brings_proof() {
    holds("worker-frozen").await;
}

#[tokio::test]
async fn what_was_acknowledged_outlives_restarts_of_the_database() {
    holds("database-restarted").await;
}

#[tokio::test]
async fn poison_becomes_a_dead_letter_and_dead_letters_come_back() {
    holds("poison").await;
}

#[tokio::test]
async fn a_wrong_clock_claims_nothing_twice() {
    holds("clocks").await;
}

#[tokio::test]
async fn a_post_whose_commit_goes_unheard_is_posted_once() {
    holds("answer-lost").await;
}

#[tokio::test]
async fn many_sweepers_at_once_enqueue_once() {
    holds("sweepers").await;
}
