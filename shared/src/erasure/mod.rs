//! Erasure: what people wrote, and how they were known, goes; that there was something stays.
//!
//! The first transaction locks them out, forgets names, numbers and settings, and notes which
//! stretches of which threads still hold what they wrote. Those are emptied in bounded batches, by
//! the request while it has time, and by the sweeper after that, whatever happened in between.

mod store;

use std::time::{Duration, Instant};

use crate::{
    Result,
    actor::Host,
    audit::{self, Action, Event},
    db::{self, Pool},
    delivery, failpoint, families,
    ids::{FamilyId, UserId},
    limits::{self, Subject},
};

/// The name that answers give an erased user. Pages have it in the reader's language.
pub const FORMER_MEMBER: &str = "Former member";
/// The name that answers give an erased family.
pub const FORMER_FAMILY: &str = "Former family";

/// How far an erasure is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Erased {
    /// Nothing is left.
    All,
    /// The sweeper empties the rest; what they wrote is out of everybody's sight only then.
    UnderWay,
}

/// Erases a member: deactivates them, and takes away name, phone, settings, links, sessions, and the
/// text and files of all that they wrote. Their messages stay as deleted ones, under their numbers.
/// Asking again goes on with it. Returns within `budget`, or soon after it.
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

/// Erases a family: everybody as [`erase_user`] does, and its name and its threads' titles besides.
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
    // From here on the sweeper would do it all: whatever fails is under way.
    let emptied = empty_until(pool, Some((family_id, user_id)), deadline).await;
    let left = match emptied {
        Ok(_) => has_pending(pool, family_id, user_id).await,
        Err(error) => Err(error),
    };
    match left {
        Ok(false) => Ok(Erased::All),
        Ok(true) => Ok(Erased::UnderWay),
        Err(error) => {
            tracing::warn!(error = error.with_causes(), "can't empty all messages now");
            Ok(Erased::UnderWay)
        }
    }
}

/// Everything but the messages, in one transaction. A post by those who are erased has committed
/// before it, or is refused after it: they are locked as it locks its author.
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
    // Statements of their own: they see what those had committed who were waited for.
    let emptied = store::empty_waiting(&mut tx, family_id, user_id).await?;
    // One that is just being sent and comes back finds its message deleted.
    delivery::cancel_about(&mut tx, family_id, &emptied).await?;
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

/// Goes on with every erasure that a request did not finish, until `deadline`; says how many batches
/// that took. Several at once share the work.
///
/// # Errors
/// [`crate::Error`] of the database alone; what was done by then is done.
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
