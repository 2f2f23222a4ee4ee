//! A member in one thread: what they have read, and which texts reach them.

mod store;

use time::OffsetDateTime;

use crate::{
    Error, Result,
    actor::Actor,
    db::{self, Pool},
    ids::ThreadId,
    text_enum::text_enum,
};

text_enum! {
    /// What a member is to a thread.
    pub enum MemberStatus {
        /// In it.
        Active = "active",
        /// Asked to join.
        Invited = "invited",
        /// Left it.
        Left = "left",
        /// Was removed from it.
        Removed = "removed",
        /// Was removed from it for good.
        Banned = "banned",
    }
}

/// A member as their own page shows them.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Membership {
    /// Their language, as a BCP 47 tag.
    pub locale: Option<String>,
    /// Their time zone, as an IANA name.
    pub time_zone: Option<String>,
    /// Whether there is a number that texts could go to.
    pub has_phone: bool,
    /// The newest message that they have read; 0 before the first.
    pub last_read_seq: i64,
    /// Which texts about this thread reach them.
    #[sqlx(flatten)]
    pub sms: SmsStatus,
}

/// Which texts about a thread reach a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, sqlx::FromRow)]
pub struct SmsStatus {
    /// They want no texts at all, about whatever thread.
    pub opted_out: bool,
    /// They want none about this thread for now.
    pub muted: bool,
    /// Until when they are muted; `None` while they are: until they say otherwise.
    pub muted_until: Option<OffsetDateTime>,
}

/// What a member wants of texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SmsPreference {
    /// SMS are sent, also after an opt-out.
    On,
    /// None about this thread, for these hours or until they say otherwise.
    Muted {
        /// From 1 to [`MUTE_HOURS_MAX`].
        hours: Option<i32>,
    },
    /// None at all.
    Off,
}

/// Longest mute that ends by itself, in hours: a year.
pub const MUTE_HOURS_MAX: i32 = 8760;

/// A member as they are in one of their threads.
///
/// # Errors
/// [`Error::ThreadNotFound`], also for who is not an active member.
pub async fn get(pool: &Pool, actor: &Actor, thread_id: ThreadId) -> Result<Membership> {
    let mut tx = db::begin_for_family(pool, &actor.family).await?;
    let membership = store::find_membership(&mut tx, &actor.family, &actor.user, thread_id).await?;
    tx.end();
    membership.ok_or(Error::ThreadNotFound)
}

/// Notes that a member has read a thread up to its message number `seq`. Never goes back, and never
/// past what is there.
///
/// # Errors
/// [`Error::ThreadNotFound`], also for who is not an active member.
pub async fn mark_read(pool: &Pool, actor: &Actor, thread_id: ThreadId, seq: i64) -> Result<()> {
    let mut tx = db::begin_for_family(pool, &actor.family).await?;
    let marked = store::mark_read(&mut tx, &actor.family, &actor.user, thread_id, seq).await?;
    tx.commit().await?;
    if marked { Ok(()) } else { Err(Error::ThreadNotFound) }
}

/// Does as a member wishes, from the next text on, those that wait to be sent included.
///
/// # Errors
/// [`Error::ThreadNotFound`], also for who is not an active member.
pub async fn set_sms_preference(
    pool: &Pool,
    actor: &Actor,
    thread_id: ThreadId,
    preference: SmsPreference,
) -> Result<SmsStatus> {
    let mut tx = db::begin_for_family(pool, &actor.family).await?;
    let status =
        store::set_sms_preference(&mut tx, &actor.family, &actor.user, thread_id, preference)
            .await?;
    tx.commit().await?;
    status.ok_or(Error::ThreadNotFound)
}
