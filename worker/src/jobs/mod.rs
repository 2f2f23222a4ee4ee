//! Handlers of jobs, one file for each kind.

mod answer_link_request;
mod deliver;

use std::{
    collections::{HashMap, HashSet},
    time::Instant,
};

use shared::queue::{Job, NotificationJob};

use crate::{Worker, record::Attributes};

/// Handles the jobs of a batch and returns the ids of the failed records.
pub(crate) async fn handle(
    worker: &Worker,
    records: Vec<(String, Job, Attributes)>,
    deadline: Instant,
) -> Vec<String> {
    let mut due: Vec<NotificationJob> = Vec::new();
    let mut attributes = HashMap::new();
    let mut requests = HashMap::new();
    for (_, job, record_attributes) in &records {
        match job {
            Job::Notification(job) => {
                due.push(job.clone());
                attributes.insert(job.notification_id, record_attributes.clone());
            }
            Job::LinkRequest(id) => {
                requests.insert(*id, record_attributes);
            }
        }
    }
    // Before delivery, which sends their SMS in the same run.
    let answered = answer_link_request::answer(worker, &requests).await;
    let unanswered = answered.is_none();
    for (request, job) in answered.unwrap_or_default() {
        if let Some(&record_attributes) = requests.get(&request) {
            attributes.insert(job.notification_id, record_attributes.clone());
        }
        due.push(job);
    }
    let unfinished = if due.is_empty() {
        HashSet::new()
    } else {
        deliver::deliver(worker, &due, attributes, deadline).await
    };
    let failed = |job: &Job| match job {
        Job::Notification(job) => unfinished.contains(&job.notification_id),
        Job::LinkRequest(_) => unanswered,
    };
    records.into_iter().filter(|(_, job, _)| failed(job)).map(|(id, ..)| id).collect()
}
