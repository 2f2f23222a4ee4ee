//! The audit trail: who did what, when, and from where, of everything that says who may read what.
//!
//! An event is written in the transaction of what it tells of, and never changed. It holds ids
//! alone. Posting and reading write none.

mod store;

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

/// The principal of an event, and the source address of its request.
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
    /// A browser with a link or a session: it acts as the member whom the event is about.
    #[must_use]
    pub const fn browser(source: Option<IpAddr>) -> Self {
        Self { kind: PrincipalKind::Browser, source }
    }

    /// The worker or the sweeper. `source` is the address of the request that it works for.
    #[must_use]
    pub const fn worker(source: Option<IpAddr>) -> Self {
        Self { kind: PrincipalKind::Worker, source }
    }

    /// The source address, as the network says it.
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

    /// The member who acts in `event`.
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

/// What was done. The words are part of the contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// A family was created or replaced.
    FamilyPut,
    /// A member was created, replaced or brought back.
    UserPut,
    /// A member was deactivated.
    UserDeactivated,
    /// A member was erased.
    UserErased,
    /// Everybody of a family was deactivated.
    FamilyDeactivated,
    /// A family was erased.
    FamilyErased,
    /// A part of a family's data was handed out.
    ExportMade,
    /// A thread was created.
    ThreadCreated,
    /// Somebody became an active member of a thread, in a role.
    MemberJoined,
    /// Somebody ceased to be one.
    MemberLeft,
    /// A fresh link is on its way to the number on file.
    LinkRequested,
    /// A link was opened by the browser that keeps it.
    LinkOpened,
    /// A browser's session was ended: by its owner, with the membership, or by another number.
    SessionEnded,
}

impl Action {
    const fn as_str(self) -> &'static str {
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

    /// About this member.
    pub(crate) fn of(action: Action, user_id: &UserId) -> Self {
        Self { user_id: Some(user_id.clone()), ..Self::new(action) }
    }

    /// In this thread.
    pub(crate) fn in_thread(self, thread_id: ThreadId) -> Self {
        Self { thread_id: Some(thread_id), ..self }
    }

    /// In this role.
    pub(crate) fn in_role(self, role: Role) -> Self {
        Self { role: Some(role), ..self }
    }
}

/// Notes events of one family in the transaction of what they tell of.
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

/// An event as it stands in the trail.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct AuditEvent {
    /// Its id: events that came later sort later.
    pub audit_event_id: AuditEventId,
    /// When.
    pub at: OffsetDateTime,
    /// `host`, `member`, `browser` or `worker`.
    pub actor: String,
    /// The member who acted.
    pub actor_id: Option<UserId>,
    /// What was done: see [`Action`].
    pub action: String,
    /// Whom it was about.
    pub user_id: Option<UserId>,
    /// The thread it was about.
    pub thread_id: Option<ThreadId>,
    /// The role that they have since.
    pub role: Option<Role>,
    /// The network address that it came from, where one was known.
    pub source: Option<String>,
}

/// Up to `limit` events of a family, the newest first, and where to read on.
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
