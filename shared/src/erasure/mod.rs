//! Erasure of users and families: their data and the content of their messages go; ids and numbering stay.
//!
//! The first transaction deactivates the users, clears names, numbers and settings, and stores the ranges of
//! messages to empty. These are emptied in bounded batches, by the request while it has time, then by the
//! sweeper, also after a failure.

mod store;

use std::time::{Duration, Instant};

use crate::{
    Result,
    actor::Host,
    audit::{self, Action, Event},
    db::{self, Pool},
    failpoint, families,
    ids::{FamilyId, UserId},
    limits::{self, Subject},
};

/// The name of an erased user in API responses. Pages show it in the user's language.
pub const FORMER_MEMBER: &str = "Former member";
/// The name of an erased family in API responses.
pub const FORMER_FAMILY: &str = "Former family";

/// The progress of an erasure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Erased {
    /// Finished.
    All,
    /// The sweeper empties the remaining messages, which stay readable until then.
    UnderWay,
}

/// Erases a user: deactivates the user and removes name, phone, settings, links, sessions, and the text and
/// files of all messages. The messages stay, marked as deleted, with their numbers. A repeated call
/// continues. Returns within `budget`, or soon after it.
///
/// # Errors
/// [`crate::Error::UserNotFound`].
pub async fn erase_user(
    pool: &Pool,
    host: &Host,
    user_id: &UserId,
    budget: Duration,
) -> Result<Erased> {
    erase(pool, host, Some(user_id), budget).await
}

/// Erases a family: all users, as [`erase_user`] does, the family's name, and its threads' titles.
///
/// # Errors
/// [`crate::Error::FamilyNotFound`].
pub async fn erase_family(pool: &Pool, host: &Host, budget: Duration) -> Result<Erased> {
    erase(pool, host, None, budget).await
}

async fn erase(
    pool: &Pool,
    host: &Host,
    user_id: Option<&UserId>,
    budget: Duration,
) -> Result<Erased> {
    let (family_id, deadline) = (&host.family, Instant::now() + budget);
    deactivate_and_forget(pool, host, user_id).await?;
    // From here the sweeper would finish it, so an error means under way.
    let emptied = empty_until(pool, Some((family_id, user_id)), deadline).await;
    let left = match emptied {
        Ok(_) => has_pending(pool, family_id, user_id).await,
        Err(error) => Err(error),
    };
    match left {
        Ok(false) => Ok(Erased::All),
        Ok(true) => Ok(Erased::UnderWay),
        Err(error) => {
            tracing::warn!(
                error = error.with_causes(),
                "can't empty all messages; the sweeper continues"
            );
            Ok(Erased::UnderWay)
        }
    }
}

/// Erases everything except the messages, in one transaction. It locks the users as a post locks its author:
/// a concurrent post commits before it or is refused after it.
async fn deactivate_and_forget(pool: &Pool, host: &Host, user_id: Option<&UserId>) -> Result<()> {
    let family_id = &host.family;
    let mut tx = db::begin_for_family(pool, family_id).await?;
    let event = if let Some(user_id) = user_id {
        Event::of(Action::UserErased, user_id)
    } else {
        store::forget_family(&mut tx, family_id).await?;
        Event::new(Action::FamilyErased)
    };
    let users = store::forget_users(&mut tx, family_id, user_id).await?;
    let mut events = vec![event];
    events.extend(families::end_everything(&mut tx, family_id, user_id).await?);
    // A separate statement: it sees what the transactions committed that held the locks before. From this
    // commit on, no claim quotes these authors, also where messages are still to be emptied.
    store::insert_erasures(&mut tx, family_id, user_id).await?;
    store::delete_links(&mut tx, family_id, user_id).await?;

    let mut subjects = match user_id {
        Some(_) => Vec::new(),
        None => vec![Subject::family_links(family_id)],
    };
    let mut phones = Vec::new();
    for (user_id, phone) in users {
        subjects.push(Subject::member_links(family_id, &user_id));
        subjects.extend(phone.as_ref().map(Subject::phone_links));
        phones.extend(phone);
    }
    limits::forget(&mut tx, &subjects).await?;
    store::delete_requests(&mut tx, &phones).await?;
    audit::record(&mut tx, family_id, &host.into(), &events).await?;
    tx.commit().await?;
    Ok(())
}

async fn has_pending(pool: &Pool, family_id: &FamilyId, user_id: Option<&UserId>) -> Result<bool> {
    let mut tx = db::begin_for_family(pool, family_id).await?;
    let left = store::has_pending(&mut tx, family_id, user_id).await?;
    tx.commit().await?;
    Ok(left)
}

/// Continues all unfinished erasures until `deadline`. Returns the number of batches. Concurrent runs share
/// the work.
///
/// # Errors
/// Only database errors; finished batches stay.
pub async fn sweep(pool: &Pool, deadline: Instant) -> Result<u64> {
    empty_until(pool, None, deadline).await
}

/// The authors whose messages are emptied: all, those of one family, or one member.
type ErasureScope<'a> = Option<(&'a FamilyId, Option<&'a UserId>)>;

async fn empty_until(pool: &Pool, scope: ErasureScope<'_>, deadline: Instant) -> Result<u64> {
    let mut batches = 0;
    while Instant::now() < deadline {
        let mut tx = match scope {
            Some((family_id, _)) => db::begin_for_family(pool, family_id).await?,
            None => db::begin_as_worker(pool).await?,
        };
        let did_some = store::empty_some(&mut tx, scope).await?;
        tx.commit().await?;
        failpoint::reach("erase.batch");
        if !did_some {
            break;
        }
        batches += 1;
    }
    Ok(batches)
}
