//! Jobs, a file a kind.

mod answer_link_request;
mod deliver;

use std::{
    collections::{HashMap, HashSet},
    time::Instant,
};

use shared::queue::{Job, NotificationJob};

use crate::{Worker, record::Attributes};

/// Does what the jobs of a batch ask for, and returns the ids of the records that must come back.
pub(crate) async fn handle(
    worker: &Worker,
    records: Vec<(String, Job, Attributes)>,
    deadline: Instant,
) -> Vec<String> {
    let mut due: Vec<NotificationJob> = Vec::new();
    let mut attributes = HashMap::new();
    let mut requests = HashMap::new();
    for (_, job, of_record) in &records {
        match job {
            Job::Notification(job) => {
                due.push(job.clone());
                attributes.insert(job.notification_id, of_record.clone());
            }
            Job::LinkRequest(id) => {
                requests.insert(*id, of_record);
            }
        }
    }
    // Before delivery, which sends what they come to in the same run.
    let answered = answer_link_request::answer(worker, &requests).await;
    let unanswered = answered.is_none();
    for (request, job) in answered.unwrap_or_default() {
        if let Some(&of_record) = requests.get(&request) {
            attributes.insert(job.notification_id, of_record.clone());
        }
        due.push(job);
    }
    let unfinished = if due.is_empty() {
        HashSet::new()
    } else {
        deliver::deliver(worker, &due, attributes, deadline).await
    };
    let comes_back = |job: &Job| match job {
        Job::Notification(job) => unfinished.contains(&job.notification_id),
        Job::LinkRequest(_) => unanswered,
    };
    records.into_iter().filter(|(_, job, _)| comes_back(job)).map(|(id, ..)| id).collect()
}
