//! The queue's side of the event source, for a test that decides who handles what, and when.

use aws_sdk_sqs::types::{Message, QueueAttributeName};
use serde_json::Value;

use crate::{System, events::sqs_event};

/// Up to ten of the records that the queue hands out now.
pub(super) async fn receive(system: &System) -> Vec<Message> {
    receive_from(system, &system.stack.sqs.queue_url).await
}

/// Up to ten of what a queue hands out now; none only if there is none.
async fn receive_from(system: &System, queue_url: &str) -> Vec<Message> {
    let sqs = system.stack.sqs.client();
    loop {
        let request = sqs.receive_message().queue_url(queue_url).max_number_of_messages(10);
        let received = request.send().await.expect("a queue").messages.unwrap_or_default();
        // A receive that only moved dead letters is empty too.
        if !received.is_empty() || visible(system, queue_url).await == 0 {
            return received;
        }
    }
}

/// How many records a queue could hand out.
async fn visible(system: &System, queue_url: &str) -> usize {
    let name = QueueAttributeName::ApproximateNumberOfMessages;
    let request = system.stack.sqs.client().get_queue_attributes().queue_url(queue_url);
    let attributes = request.attribute_names(name.clone()).send().await.expect("a queue");
    let number = attributes.attributes().and_then(|attributes| attributes.get(&name));
    number.and_then(|number| number.parse().ok()).expect("a number")
}

/// All that a queue hands out now. Until it is given back it stays hidden from others.
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

/// The batch as the worker gets it.
pub(super) fn event(messages: &[Message]) -> Value {
    let records: Vec<(&str, &str)> = messages
        .iter()
        .map(|message| (message.message_id().unwrap_or_default(), body(message)))
        .collect();
    sqs_event(&records)
}

/// What a record says.
pub(super) fn body(message: &Message) -> &str {
    message.body().unwrap_or_default()
}

/// Puts a record into the queue.
pub(super) async fn send(system: &System, body: &str) {
    let request = system.stack.sqs.client().send_message().message_body(body);
    request.queue_url(&system.stack.sqs.queue_url).send().await.expect("sent");
}

/// Makes records visible again at once. On AWS they would be when their 180 s have passed: this
/// changes when they come back, not whether, and each time counts as a receive.
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

/// Deletes records: their work is done.
pub(super) async fn delete(system: &System, queue_url: &str, messages: &[Message]) {
    for message in messages {
        let request = system.stack.sqs.client().delete_message().queue_url(queue_url);
        request.receipt_handle(receipt(message)).send().await.expect("deleted");
    }
}

/// Has `handle` answer batch after batch until the queue has nothing to hand out: what an answer
/// names as failed comes back, and all of a batch without an answer.
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
