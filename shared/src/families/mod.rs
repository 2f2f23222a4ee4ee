//! Families and their people, as the host application provisions them.

mod store;

use sqlx::PgConnection;
use time::{OffsetDateTime, Time};

use crate::{
    Result,
    actor::Host,
    audit::{self, Action, Event},
    db::{self, Pool},
    delivery,
    ids::{FamilyId, ThreadId, UserId},
    phone::{PhoneNumber, Region},
    text::Name,
};

/// A family.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Family {
    /// Its id, of the host application's making.
    pub family_id: FamilyId,
    /// What it is called.
    pub name: Name,
    /// Most segments of texts a calendar month; `None` is no cap.
    pub sms_monthly_cap_segments: Option<i32>,
    /// The country that it is of.
    pub region: Option<Region>,
    /// Where its texts may go; `None` is its own country alone.
    pub sms_regions: Option<Vec<Region>>,
    /// When it was first provisioned.
    pub created_at: OffsetDateTime,
    /// When it was last provisioned.
    pub updated_at: OffsetDateTime,
}

/// What the host application says of a family. Replaces all that it said before.
#[derive(Debug, Clone)]
pub struct FamilyProfile {
    /// What it is called.
    pub name: Name,
    /// Most segments of texts a calendar month; `None` is no cap.
    pub sms_monthly_cap_segments: Option<i32>,
    /// The country that it is of.
    pub region: Option<Region>,
    /// Where its texts may go; `None` is its own country alone.
    pub sms_regions: Option<Vec<Region>>,
}

/// A member of a family.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct User {
    /// Their id, of the host application's making.
    pub user_id: UserId,
    /// Their family.
    pub family_id: FamilyId,
    /// All that the host application says of them.
    #[sqlx(flatten)]
    pub profile: UserProfile,
    /// When they were first provisioned.
    pub created_at: OffsetDateTime,
    /// When they were last provisioned.
    pub updated_at: OffsetDateTime,
}

/// What the host application says of a member. Replaces all that it said before.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct UserProfile {
    /// What they are called; the sender of their texts.
    pub name: Name,
    /// Where their texts go; `None` sends none.
    pub phone: Option<PhoneNumber>,
    /// Their language, as a BCP 47 tag.
    pub locale: Option<String>,
    /// Their time zone, as an IANA name.
    pub time_zone: Option<String>,
    /// When no text is to reach them.
    #[sqlx(flatten)]
    pub quiet_hours: QuietHours,
}

/// A span of the day in the member's own time zone; both ends or neither. May run past midnight.
#[derive(Debug, Clone, Copy, Default, sqlx::FromRow)]
pub struct QuietHours {
    /// Its first minute.
    pub quiet_from: Option<Time>,
    /// The first minute after it.
    pub quiet_to: Option<Time>,
}

/// Whether provisioning made something new.
#[derive(Debug, Clone)]
pub struct Provisioned<T> {
    /// What it is now.
    pub now: T,
    /// It was not there before.
    pub created: bool,
}

/// Creates or replaces a family.
///
/// # Errors
/// [`crate::Error`] of the database alone.
pub async fn put_family(
    pool: &Pool,
    host: &Host,
    profile: &FamilyProfile,
) -> Result<Provisioned<Family>> {
    let family_id = &host.family;
    let mut tx = db::begin_for_family(pool, family_id).await?;
    let put = store::upsert_family(&mut tx, family_id, profile).await?;
    audit::record(&mut tx, family_id, &host.into(), &[Event::new(Action::FamilyPut)]).await?;
    tx.commit().await?;
    Ok(put)
}

/// Creates or replaces a member, and brings a deactivated one back (without their old threads).
/// Another phone number ends the links and sessions that came by the old one. `regions` is where texts
/// may go of a family that names no country.
///
/// # Errors
/// [`crate::Error::FamilyNotFound`], [`crate::Error::RegionNotAllowed`].
pub async fn put_user(
    pool: &Pool,
    host: &Host,
    user_id: &UserId,
    profile: &UserProfile,
    regions: Option<&[Region]>,
) -> Result<Provisioned<User>> {
    let family_id = &host.family;
    let mut tx = db::begin_for_family(pool, family_id).await?;
    let (put, ended_in) = store::upsert_user(&mut tx, family_id, user_id, profile, regions).await?;
    let ended = |thread_id| Event::of(Action::SessionEnded, user_id).in_thread(thread_id);
    let mut events = vec![Event::of(Action::UserPut, user_id)];
    events.extend(ended_in.into_iter().map(ended));
    audit::record(&mut tx, family_id, &host.into(), &events).await?;
    tx.commit().await?;
    Ok(put)
}

/// Deactivates a member: memberships end, links and sessions die, and texts not yet sent are cancelled, all
/// at once. Doing it again changes nothing.
///
/// # Errors
/// [`crate::Error::UserNotFound`].
pub async fn deactivate_user(pool: &Pool, host: &Host, user_id: &UserId) -> Result<()> {
    let family_id = &host.family;
    let mut tx = db::begin_for_family(pool, family_id).await?;
    store::deactivate_user(&mut tx, family_id, user_id).await?;
    let mut events = vec![Event::of(Action::UserDeactivated, user_id)];
    events.extend(end_everything(&mut tx, family_id, Some(user_id)).await?);
    audit::record(&mut tx, family_id, &host.into(), &events).await?;
    tx.commit().await?;
    Ok(())
}

/// Deactivates everybody of a family, as [`deactivate_user`] does. The family stays, and whoever is
/// provisioned again is back in it.
///
/// # Errors
/// [`crate::Error::FamilyNotFound`].
pub async fn deactivate_family(pool: &Pool, host: &Host) -> Result<()> {
    let family_id = &host.family;
    let mut tx = db::begin_for_family(pool, family_id).await?;
    let deactivated = store::deactivate_users(&mut tx, family_id).await?;
    let mut events = vec![Event::new(Action::FamilyDeactivated)];
    events.extend(deactivated.iter().map(|user_id| Event::of(Action::UserDeactivated, user_id)));
    events.extend(end_everything(&mut tx, family_id, None).await?);
    audit::record(&mut tx, family_id, &host.into(), &events).await?;
    tx.commit().await?;
    Ok(())
}

/// Ends memberships, links, sessions and waiting texts of a member or, with `None`, of everybody, who
/// are deactivated already. Returns what the trail is told.
///
/// A statement after the one that deactivated: its snapshot has what a thread created meanwhile,
/// whose members that one waited for.
pub(crate) async fn end_everything(
    tx: &mut PgConnection,
    family_id: &FamilyId,
    user_id: Option<&UserId>,
) -> Result<Vec<Event>> {
    let ended = store::end_everything(tx, family_id, user_id).await?;
    delivery::cancel_waiting(tx, family_id, user_id).await?;
    let event = |(action, user_id, thread_id): (Action, UserId, ThreadId)| {
        Event::of(action, &user_id).in_thread(thread_id)
    };
    Ok(ended.into_iter().map(event).collect())
}
