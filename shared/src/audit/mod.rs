//! The audit trail: every change of access, with its principal, time and source address.
//!
//! An event is written in the transaction of the change, is never updated, and holds only ids. Posting and
//! reading messages write no events.

mod store;

pub(crate) use self::store::note_thread;

use std::net::IpAddr;

use sqlx::PgConnection;
use time::OffsetDateTime;

pub use crate::cursor::AuditCursor;
use crate::{
    Error, Result,
    access::Role,
    actor::{Actor, Host},
    db::{self, Pool},
    ids::{AuditEventId, FamilyId, ThreadId, UserId},
};

/// The principal of an event, with the source address of its request.
#[derive(Debug, Clone)]
pub struct Principal {
    kind: PrincipalKind,
    source: Option<IpAddr>,
}

#[derive(Debug, Clone)]
enum PrincipalKind {
    Host,
    Member(UserId),
    Browser,
    Worker,
}

impl Principal {
    /// A browser with a link or a session: it acts as the event's user.
    #[must_use]
    pub const fn browser(source: Option<IpAddr>) -> Self {
        Self { kind: PrincipalKind::Browser, source }
    }

    /// The worker or the sweeper. `source` is the address of the request that caused its work.
    #[must_use]
    pub const fn worker(source: Option<IpAddr>) -> Self {
        Self { kind: PrincipalKind::Worker, source }
    }

    /// The source address of the request.
    pub(crate) const fn source(&self) -> Option<IpAddr> {
        self.source
    }

    const fn as_str(&self) -> &'static str {
        match self.kind {
            PrincipalKind::Host => "host",
            PrincipalKind::Member(_) => "member",
            PrincipalKind::Browser => "browser",
            PrincipalKind::Worker => "worker",
        }
    }

    /// Returns the acting user of `event`.
    fn member_in<'a>(&'a self, event: &'a Event) -> Option<&'a UserId> {
        match &self.kind {
            PrincipalKind::Member(user_id) => Some(user_id),
            PrincipalKind::Browser => event.user_id.as_ref(),
            PrincipalKind::Host | PrincipalKind::Worker => None,
        }
    }
}

impl From<&Actor> for Principal {
    fn from(actor: &Actor) -> Self {
        Self { kind: PrincipalKind::Member(actor.user.clone()), source: actor.source }
    }
}

impl From<&Host> for Principal {
    fn from(host: &Host) -> Self {
        Self { kind: PrincipalKind::Host, source: host.source }
    }
}

/// The kind of an event. The strings are part of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// A family was created or replaced.
    FamilyPut,
    /// A user was created, replaced or reactivated.
    UserPut,
    /// A user was deactivated.
    UserDeactivated,
    /// A user was erased.
    UserErased,
    /// All users of a family were deactivated.
    FamilyDeactivated,
    /// A family was erased.
    FamilyErased,
    /// A part of a family's data was exported.
    ExportMade,
    /// A thread was created, with all of its members: the actor as the owner.
    ThreadCreated,
    /// A former member of a thread became an active one again, with a role.
    MemberJoined,
    /// A user's membership of a thread ended.
    MemberLeft,
    /// A new link was queued for the user's phone number.
    LinkRequested,
    /// A link was opened and bound to a browser.
    LinkOpened,
    /// A browser's session ended: by sign-out, with the membership, or because the phone number changed.
    SessionEnded,
}

impl Action {
    /// The value in the database and the API.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::FamilyPut => "family.put",
            Self::UserPut => "user.put",
            Self::UserDeactivated => "user.deactivated",
            Self::UserErased => "user.erased",
            Self::FamilyDeactivated => "family.deactivated",
            Self::FamilyErased => "family.erased",
            Self::ExportMade => "export.made",
            Self::ThreadCreated => "thread.created",
            Self::MemberJoined => "member.joined",
            Self::MemberLeft => "member.left",
            Self::LinkRequested => "link.requested",
            Self::LinkOpened => "link.opened",
            Self::SessionEnded => "session.ended",
        }
    }
}

/// An event without its principal.
#[derive(Debug, Clone)]
pub(crate) struct Event {
    action: Action,
    user_id: Option<UserId>,
    thread_id: Option<ThreadId>,
    role: Option<Role>,
}

impl Event {
    pub(crate) const fn new(action: Action) -> Self {
        Self { action, user_id: None, thread_id: None, role: None }
    }

    /// An event about this user.
    pub(crate) fn of(action: Action, user_id: &UserId) -> Self {
        Self { user_id: Some(user_id.clone()), ..Self::new(action) }
    }

    /// The event in this thread.
    pub(crate) fn in_thread(self, thread_id: ThreadId) -> Self {
        Self { thread_id: Some(thread_id), ..self }
    }

    /// The event with this role.
    pub(crate) fn in_role(self, role: Role) -> Self {
        Self { role: Some(role), ..self }
    }
}

/// Writes events of one family, in the transaction of the changes.
///
/// # Errors
/// [`Error`] of the database alone.
pub(crate) async fn record(
    tx: &mut PgConnection,
    family_id: &FamilyId,
    principal: &Principal,
    events: &[Event],
) -> Result<()> {
    if events.is_empty() { Ok(()) } else { store::insert(tx, family_id, principal, events).await }
}

/// A stored event.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct AuditEvent {
    /// Its id: later events sort later.
    pub audit_event_id: AuditEventId,
    /// When it happened.
    pub at: OffsetDateTime,
    /// `host`, `member`, `browser` or `worker`.
    pub actor: String,
    /// The user that acted.
    pub actor_id: Option<UserId>,
    /// The kind of event: see [`Action`].
    pub action: String,
    /// The user that it is about.
    pub user_id: Option<UserId>,
    /// The thread that it is about.
    pub thread_id: Option<ThreadId>,
    /// The user's new role.
    pub role: Option<Role>,
    /// The members of a new thread.
    pub member_ids: Option<Vec<UserId>>,
    /// The source address of the request, if known.
    pub source: Option<String>,
}

/// Returns up to `limit` events of a family, newest first, and the cursor of the next page.
///
/// # Errors
/// [`Error::FamilyNotFound`].
pub async fn list(
    pool: &Pool,
    host: &Host,
    before: Option<AuditCursor>,
    limit: usize,
) -> Result<(Vec<AuditEvent>, Option<AuditCursor>)> {
    let mut tx = db::begin_for_family(pool, &host.family).await?;
    let events = store::list(&mut tx, &host.family, before, limit + 1).await?;
    tx.end();
    let mut events = events.ok_or(Error::FamilyNotFound)?;
    let more = events.len() > limit;
    events.truncate(limit);
    let last = events.last().filter(|_| more);
    let next = last.map(|event| AuditCursor { event: event.audit_event_id });
    Ok((events, next))
}
