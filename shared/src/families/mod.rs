//! Families and their users, as the host application provisions them.

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
    /// Its id, chosen by the host application.
    pub family_id: FamilyId,
    /// Its name.
    pub name: Name,
    /// Maximum SMS segments a calendar month; `None` is no cap.
    pub sms_monthly_cap_segments: Option<i32>,
    /// SMS about messages a minute; 0 is no limit, `None` is the system's.
    pub sms_per_minute: Option<i32>,
    /// Its country.
    pub region: Option<Region>,
    /// The countries that its SMS may go to; `None` is only its own.
    pub sms_regions: Option<Vec<Region>>,
    /// When it was first provisioned.
    pub created_at: OffsetDateTime,
    /// When it was last provisioned.
    pub updated_at: OffsetDateTime,
}

/// A family as the host application provisions it. Replaces all earlier values.
#[derive(Debug, Clone)]
pub struct FamilyProfile {
    /// Its name.
    pub name: Name,
    /// Maximum SMS segments a calendar month; `None` is no cap.
    pub sms_monthly_cap_segments: Option<i32>,
    /// SMS about messages a minute; 0 is no limit, `None` is the system's.
    pub sms_per_minute: Option<i32>,
    /// Its country.
    pub region: Option<Region>,
    /// The countries that its SMS may go to; `None` is only its own.
    pub sms_regions: Option<Vec<Region>>,
}

/// A user of a family.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct User {
    /// The id, chosen by the host application.
    pub user_id: UserId,
    /// The family.
    pub family_id: FamilyId,
    /// The provisioned values.
    #[sqlx(flatten)]
    pub profile: UserProfile,
    /// When the user was first provisioned.
    pub created_at: OffsetDateTime,
    /// When the user was last provisioned.
    pub updated_at: OffsetDateTime,
}

/// A user as the host application provisions it. Replaces all earlier values.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct UserProfile {
    /// The name, which SMS show as the sender.
    pub name: Name,
    /// The number for SMS; `None` sends none.
    pub phone: Option<PhoneNumber>,
    /// The language, as a BCP 47 tag.
    pub locale: Option<String>,
    /// The time zone, as an IANA name.
    pub time_zone: Option<String>,
    /// When no SMS may be sent.
    #[sqlx(flatten)]
    pub quiet_hours: QuietHours,
}

/// A daily period in the user's time zone, which may cross midnight. Both ends are set or neither.
#[derive(Debug, Clone, Copy, Default, sqlx::FromRow)]
pub struct QuietHours {
    /// Its first minute.
    pub quiet_from: Option<Time>,
    /// The first minute after it.
    pub quiet_to: Option<Time>,
}

/// The result of provisioning.
#[derive(Debug, Clone)]
pub struct Provisioned<T> {
    /// The current value.
    pub now: T,
    /// Whether it is new.
    pub created: bool,
}

/// Creates or replaces a family. A change of its pace counts at once for what waits for it.
///
/// # Errors
/// Only database errors.
pub async fn put_family(
    pool: &Pool,
    host: &Host,
    profile: &FamilyProfile,
) -> Result<Provisioned<Family>> {
    let family_id = &host.family;
    let mut tx = db::begin_for_family(pool, family_id).await?;
    let (put, pace_changed) = store::upsert_family(&mut tx, family_id, profile).await?;
    if pace_changed {
        delivery::look_again(&mut tx, family_id).await?;
    }
    audit::record(&mut tx, family_id, &host.into(), &[Event::new(Action::FamilyPut)]).await?;
    tx.commit().await?;
    Ok(put)
}

/// Creates or replaces a user, and reactivates a deactivated one, without the former threads. A change of
/// the phone number ends the links and sessions of the old one. `regions` are the countries that SMS of a
/// family without a country may go to.
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

/// Deactivates a user in one transaction: ends memberships, links and sessions. Unsent SMS are cancelled when
/// they would be sent. A repeated call changes nothing.
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

/// Deactivates all users of a family, as [`deactivate_user`] does. The family stays: users can be
/// provisioned again.
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

/// Ends memberships, links and sessions of a deactivated user or, with `None`, of all users of a family. Returns the audit events.
///
/// Runs after the statement that deactivated: its snapshot includes memberships of a thread that was being
/// created, for whose lock that statement waited.
pub(crate) async fn end_everything(
    tx: &mut PgConnection,
    family_id: &FamilyId,
    user_id: Option<&UserId>,
) -> Result<Vec<Event>> {
    let ended = store::end_everything(tx, family_id, user_id).await?;
    let event = |(action, user_id, thread_id): (Action, UserId, ThreadId)| {
        Event::of(action, &user_id).in_thread(thread_id)
    };
    Ok(ended.into_iter().map(event).collect())
}
