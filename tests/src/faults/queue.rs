//! The event source's calls of the queue, for a test that decides which worker handles which record.

use aws_sdk_sqs::types::{Message, QueueAttributeName};
use serde_json::Value;

use crate::{System, events::sqs_event};

/// Receives up to ten records of the queue.
pub(super) async fn receive(system: &System) -> Vec<Message> {
    receive_from(system, &system.stack.sqs.queue_url).await
}

/// Receives up to ten records of a queue; none only if it is empty.
async fn receive_from(system: &System, queue_url: &str) -> Vec<Message> {
    let sqs = system.stack.sqs.client();
    loop {
        let request = sqs.receive_message().queue_url(queue_url).max_number_of_messages(10);
        let received = request.send().await.expect("a queue").messages.unwrap_or_default();
        // A receive that only moved dead letters returns no records too.
        if !received.is_empty() || visible(system, queue_url).await == 0 {
            return received;
        }
    }
}

/// The number of records that a queue can hand out.
async fn visible(system: &System, queue_url: &str) -> usize {
    let name = QueueAttributeName::ApproximateNumberOfMessages;
    let request = system.stack.sqs.client().get_queue_attributes().queue_url(queue_url);
    let attributes = request.attribute_names(name.clone()).send().await.expect("a queue");
    let number = attributes.attributes().and_then(|attributes| attributes.get(&name));
    number.and_then(|number| number.parse().ok()).expect("a number")
}

/// Receives all records of a queue. They stay invisible until they are given back.
pub(super) async fn receive_all(system: &System, queue_url: &str) -> Vec<Message> {
    let mut all = Vec::new();
    loop {
        let received = receive_from(system, queue_url).await;
        if received.is_empty() {
            return all;
        }
        all.extend(received);
    }
}

/// The worker's event for a batch.
pub(super) fn event(messages: &[Message]) -> Value {
    let records: Vec<(&str, &str)> = messages
        .iter()
        .map(|message| (message.message_id().unwrap_or_default(), body(message)))
        .collect();
    sqs_event(&records)
}

/// The body of a record.
pub(super) fn body(message: &Message) -> &str {
    message.body().unwrap_or_default()
}

/// Sends a record to the queue.
pub(super) async fn send(system: &System, body: &str) {
    let request = system.stack.sqs.client().send_message().message_body(body);
    request.queue_url(&system.stack.sqs.queue_url).send().await.expect("sent");
}

/// Makes records visible again at once. On AWS, that happens after their 180 s: this changes only when
/// they come back. Each time counts as a receive.
pub(super) async fn give_back(system: &System, messages: &[Message]) {
    show_again(system, &system.stack.sqs.queue_url, messages).await;
}

/// Makes records of any queue visible again at once; see [`give_back`].
pub(super) async fn show_again(system: &System, queue_url: &str, messages: &[Message]) {
    for message in messages {
        let request = system.stack.sqs.client().change_message_visibility();
        let request = request.queue_url(queue_url).visibility_timeout(0);
        request.receipt_handle(receipt(message)).send().await.expect("visible");
    }
}

/// Deletes records, whose work is done.
pub(super) async fn delete(system: &System, queue_url: &str, messages: &[Message]) {
    for message in messages {
        let request = system.stack.sqs.client().delete_message().queue_url(queue_url);
        request.receipt_handle(receipt(message)).send().await.expect("deleted");
    }
}

/// Hands batches to `handle` until the queue is empty. Records that an answer names as failed come
/// back, and the whole batch if there is no answer.
pub(super) async fn work(system: &System, handle: impl AsyncFn(Value) -> Option<Value>) {
    loop {
        let messages = receive(system).await;
        if messages.is_empty() {
            break;
        }
        let answer = handle(event(&messages)).await;
        let (failed, done): (Vec<Message>, Vec<Message>) =
            messages.into_iter().partition(|message| has_failed(message, answer.as_ref()));
        delete(system, &system.stack.sqs.queue_url, &done).await;
        give_back(system, &failed).await;
    }
}

fn has_failed(message: &Message, answer: Option<&Value>) -> bool {
    let Some(answer) = answer else { return true };
    let mut failures = answer["batchItemFailures"].as_array().into_iter().flatten();
    failures.any(|failure| failure["itemIdentifier"].as_str() == message.message_id())
}

fn receipt(message: &Message) -> &str {
    message.receipt_handle().unwrap_or_default()
}
