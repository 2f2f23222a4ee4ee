//! A user's membership of a thread: read position and SMS preference.

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
    /// The status of a membership.
    pub enum MemberStatus {
        /// Present.
        Active = "active",
        /// Invited to join.
        Invited = "invited",
        /// Left the thread.
        Left = "left",
        /// Was removed from the thread.
        Removed = "removed",
        /// Was banned from the thread.
        Banned = "banned",
    }
}

/// The caller's membership of a thread, as the thread page shows it.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Membership {
    /// The user's language, as a BCP 47 tag.
    pub locale: Option<String>,
    /// The user's time zone, as an IANA name.
    pub time_zone: Option<String>,
    /// Whether the user has a phone number.
    pub has_phone: bool,
    /// The number of the newest message read; 0 before the first.
    pub last_read_seq: i64,
    /// Whether SMS about this thread are sent.
    #[sqlx(flatten)]
    pub sms: SmsStatus,
}

/// Whether SMS about a thread are sent to a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, sqlx::FromRow)]
pub struct SmsStatus {
    /// The user has opted out of all SMS.
    pub opted_out: bool,
    /// The user has muted this thread.
    pub muted: bool,
    /// The end of the mute; `None` if it has no end, or there is none.
    pub muted_until: Option<OffsetDateTime>,
}

/// A member's preference for SMS about a thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SmsPreference {
    /// Send SMS. Ends an opt-out.
    On,
    /// Send no SMS about this thread, for some hours or until the preference changes.
    Muted {
        /// From 1 to [`MUTE_HOURS_MAX`]; `None` has no end.
        hours: Option<i32>,
    },
    /// Send no SMS about any thread.
    Off,
}

/// Longest mute with an end, in hours: a year.
pub const MUTE_HOURS_MAX: i32 = 8760;

/// Returns the caller's membership of a thread.
///
/// # Errors
/// [`Error::ThreadNotFound`], also if the caller is not an active member.
pub async fn get(pool: &Pool, actor: &Actor, thread_id: ThreadId) -> Result<Membership> {
    let mut tx = db::begin_for_family(pool, &actor.family).await?;
    let membership = store::find_membership(&mut tx, &actor.family, &actor.user, thread_id).await?;
    tx.end();
    membership.ok_or(Error::ThreadNotFound)
}

/// Marks a thread as read up to the message number `seq`. The mark never moves back, nor past the newest
/// message.
///
/// # Errors
/// [`Error::ThreadNotFound`], also if the caller is not an active member.
pub async fn mark_read(pool: &Pool, actor: &Actor, thread_id: ThreadId, seq: i64) -> Result<()> {
    let mut tx = db::begin_for_family(pool, &actor.family).await?;
    let marked = store::mark_read(&mut tx, &actor.family, &actor.user, thread_id, seq).await?;
    tx.commit().await?;
    if marked { Ok(()) } else { Err(Error::ThreadNotFound) }
}

/// Sets a member's SMS preference, which also applies to SMS that are not sent yet.
///
/// # Errors
/// [`Error::ThreadNotFound`], also if the caller is not an active member.
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
