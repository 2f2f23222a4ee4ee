//! The sweeper's part of delivery: it enqueues what was never enqueued, lost, or is due again.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use sqlx::PgConnection;

use super::{
    Pacing, WAKE_AGAIN,
    pacing::Slots,
    store::sweep::{self as store, Locked, Looked, Waiting},
};
use crate::{
    Result,
    db::{self, Pool},
    ids::FamilyId,
    queue::{Job, Queue, Recipient},
};

/// Threads that one transaction looks at, and SMS that one enqueues.
const BATCH: usize = 100;
/// Threads that were skipped for this long, in seconds, are waited for, one in each transaction.
const SKIPPED_FOR: f64 = 120.0;
/// Skipped threads that one run waits for.
const SKIPPED_MAX: usize = 20;

/// The result of enqueueing what is due.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Woken {
    /// Jobs that the queue accepted.
    pub enqueued: usize,
    /// Jobs that it did not accept: they are due again.
    pub not_taken: usize,
    /// How long the oldest of what was due had waited.
    pub oldest: Duration,
}

impl Woken {
    fn add(&mut self, jobs: usize, not_taken: usize, waited: f64) {
        self.enqueued += jobs - not_taken;
        self.not_taken += not_taken;
        self.oldest = self.oldest.max(Duration::from_secs_f64(waited.max(0.0)));
    }
}

/// Looks at the threads whose time has come, enqueues a job for each member who is due, and sets when each
/// thread is looked at next. Goes round by families until `deadline`; the next run continues.
///
/// # Errors
/// Only database errors; jobs enqueued before the error stay enqueued.
pub async fn wake_members(
    pool: &Pool,
    queue: &Queue,
    pacing: Pacing,
    deadline: Instant,
) -> Result<Woken> {
    let mut woken = Woken::default();
    let mut slots = HashMap::new();
    let visited = visit(pool, Table::Threads, deadline).await?;
    let mut families = due(&visited);
    while !families.is_empty() {
        let mut round = Vec::new();
        for families in families.chunks(BATCH) {
            if Instant::now() >= deadline {
                return Ok(woken);
            }
            let each = BATCH / families.len();
            let mut tx = db::begin_as_worker(pool).await?;
            let locked = store::lock_threads(&mut tx, families, i64_of(each)).await?;
            let (jobs, waited) = look(&mut tx, &locked, pacing, &mut slots).await?;
            tx.commit().await?;
            if !enqueue(pool, queue, &jobs, waited, &mut woken).await? {
                return Ok(woken);
            }
            round.extend(with_more(families, locked.iter().map(|(family, _)| family), each));
        }
        families = round;
    }
    let skipped = visited.into_iter().filter(|waiting| waiting.overdue > SKIPPED_FOR);
    for Waiting { family_id, .. } in skipped.take(SKIPPED_MAX) {
        if Instant::now() >= deadline {
            break;
        }
        let mut tx = db::begin_as_worker(pool).await?;
        let locked = store::lock_overdue(&mut tx, &family_id).await?;
        let (jobs, waited) = look(&mut tx, &locked, pacing, &mut slots).await?;
        tx.commit().await?;
        if !enqueue(pool, queue, &jobs, waited, &mut woken).await? {
            break;
        }
    }
    Ok(woken)
}

/// Enqueues jobs of SMS whose next attempt is due. Goes round by families until `deadline`.
///
/// # Errors
/// Only database errors; jobs enqueued before the error stay enqueued.
pub async fn wake_sms(pool: &Pool, queue: &Queue, deadline: Instant) -> Result<Woken> {
    let mut woken = Woken::default();
    let mut families = due(&visit(pool, Table::Sms, deadline).await?);
    while !families.is_empty() {
        let mut round = Vec::new();
        for families in families.chunks(BATCH) {
            if Instant::now() >= deadline {
                return Ok(woken);
            }
            let each = BATCH / families.len();
            let mut tx = db::begin_as_worker(pool).await?;
            let taken = store::take_due(&mut tx, families, i64_of(each)).await?;
            tx.commit().await?;
            round.extend(with_more(families, taken.iter().map(|(sms, _)| &sms.family_id), each));
            let waited = taken.iter().map(|(_, overdue)| *overdue).fold(0.0, f64::max);
            let jobs: Vec<Job> = taken.into_iter().map(|(sms, _)| Job::Sms(sms)).collect();
            if !enqueue(pool, queue, &jobs, waited, &mut woken).await? {
                return Ok(woken);
            }
        }
        families = round;
    }
    Ok(woken)
}

/// Makes all threads of a family be looked at in the next run that are to be looked at later, since its
/// members may be due sooner now.
pub(crate) async fn look_again(tx: &mut PgConnection, family_id: &FamilyId) -> Result<()> {
    store::look_again(tx, family_id).await
}

/// The tables in which work waits.
#[derive(Clone, Copy)]
enum Table {
    Threads,
    Sms,
}

/// Visits all families with something waiting, until `deadline`.
async fn visit(pool: &Pool, table: Table, deadline: Instant) -> Result<Vec<Waiting>> {
    let mut visited: Vec<Waiting> = Vec::new();
    loop {
        let after = visited.last().map_or("", |last| last.family_id.as_str());
        let mut tx = db::begin_as_worker(pool).await?;
        let (found, more) = match table {
            Table::Threads => store::families_with_threads(&mut tx, after).await?,
            Table::Sms => store::families_with_sms(&mut tx, after).await?,
        };
        tx.end();
        visited.extend(found);
        if !more || Instant::now() >= deadline {
            return Ok(visited);
        }
    }
}

/// Those of `families` that had a full share of `each`: they may have more. They wait until the others have
/// had theirs.
fn with_more<'a>(
    families: &[FamilyId],
    taken: impl Iterator<Item = &'a FamilyId>,
    each: usize,
) -> Vec<FamilyId> {
    let mut shares: HashMap<&FamilyId, usize> = HashMap::new();
    for family in taken {
        *shares.entry(family).or_default() += 1;
    }
    let full = |family: &&FamilyId| shares.get(family).is_some_and(|&had| had >= each);
    families.iter().filter(full).cloned().collect()
}

/// The families whose time has come.
fn due(visited: &[Waiting]) -> Vec<FamilyId> {
    visited.iter().filter(|w| w.overdue >= 0.0).map(|w| w.family_id.clone()).collect()
}

/// Looks at locked threads and sets when each is looked at next. Returns the jobs of the members who are due,
/// and for how long the first of them has been, in seconds.
async fn look(
    tx: &mut PgConnection,
    locked: &[Locked],
    pacing: Pacing,
    slots: &mut HashMap<FamilyId, Slots>,
) -> Result<(Vec<Job>, f64)> {
    if locked.is_empty() {
        return Ok((Vec::new(), 0.0));
    }
    // A second statement: its snapshot has what was committed before the locks were taken.
    let found = store::look(tx, locked, pacing).await?;
    let (mut jobs, mut longest) = (Vec::new(), 0.0_f64);
    let mut next: HashMap<Locked, f64> = HashMap::new();
    for Looked { family_id, thread_id, user_id, open_for, waited, every, ahead } in found {
        let thread = (family_id.clone(), thread_id);
        let mut slot = || {
            let of_family = slots.entry(family_id.clone());
            of_family.or_insert_with(|| Slots::new(every, ahead)).take()
        };
        let seconds = if let Some(seconds) = open_for {
            seconds.max(1.0)
        } else if let Some(seconds) = slot() {
            seconds
        } else {
            jobs.push(Job::Reach(Recipient { family_id, thread_id, user_id }));
            longest = longest.max(waited);
            WAKE_AGAIN.as_secs_f64()
        };
        next.entry(thread).and_modify(|next| *next = next.min(seconds)).or_insert(seconds);
    }
    let wake: Vec<(Locked, Option<f64>)> =
        locked.iter().map(|thread| (thread.clone(), next.get(thread).copied())).collect();
    store::set_wake(tx, &wake).await?;
    Ok((jobs, longest))
}

/// Enqueues jobs, of which the first to become due did so `waited` seconds ago. Returns `false` if the queue
/// accepted none: further ones wait for the next run.
async fn enqueue(
    pool: &Pool,
    queue: &Queue,
    jobs: &[Job],
    waited: f64,
    woken: &mut Woken,
) -> Result<bool> {
    let not_taken = queue.enqueue(jobs).await;
    woken.add(jobs.len(), not_taken.len(), waited);
    if !not_taken.is_empty() {
        let (mut members, mut sms) = (Vec::new(), Vec::new());
        for job in &not_taken {
            match job {
                Job::Reach(member) => members.push(member.clone()),
                Job::Sms(job) => sms.push(job.clone()),
                Job::LinkRequest(_) => {}
            }
        }
        let mut tx = db::begin_as_worker(pool).await?;
        store::put_back_members(&mut tx, &members).await?;
        store::put_back_sms(&mut tx, &sms).await?;
        tx.commit().await?;
    }
    Ok(jobs.is_empty() || not_taken.len() < jobs.len())
}

fn i64_of(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
