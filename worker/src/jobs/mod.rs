//! Handlers of jobs, one file for each kind.

mod answer_link_request;
mod compose;
mod deliver;

use std::{
    collections::{HashMap, HashSet},
    time::Instant,
};

use shared::queue::Job;

use crate::{Worker, record::Attributes};

/// Handles the jobs of a batch and returns the ids of the failed records.
pub(crate) async fn handle(
    worker: &Worker,
    records: Vec<(String, Job, Attributes)>,
    deadline: Instant,
) -> Vec<String> {
    let mut due: HashMap<Job, Attributes> = HashMap::new();
    let mut requests = HashMap::new();
    for (_, job, attributes) in &records {
        if let Job::LinkRequest(id) = job {
            requests.insert(*id, attributes);
        } else {
            due.insert(job.clone(), attributes.clone());
        }
    }
    // Before delivery, which sends their SMS in the same run.
    let answered = answer_link_request::answer(worker, &requests).await;
    let unanswered = answered.is_none();
    for (request, job) in answered.unwrap_or_default() {
        let attributes = requests.get(&request).map(|&attributes| attributes.clone());
        due.insert(job, attributes.unwrap_or_default());
    }
    let unfinished = if due.is_empty() {
        HashSet::new()
    } else {
        deliver::deliver(worker, &due, deadline).await
    };
    let failed = |job: &Job| match job {
        Job::LinkRequest(_) => unanswered,
        job => unfinished.contains(job),
    };
    records.into_iter().filter(|(_, job, _)| failed(job)).map(|(id, ..)| id).collect()
}
