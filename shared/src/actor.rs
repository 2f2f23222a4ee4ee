//! Principals of use cases: a user of a family, and the host application.

use std::net::IpAddr;

use crate::ids::{FamilyId, ThreadId, UserId};

/// The authenticated caller of a request, a user of a family.
///
/// Its credentials are verified. Each statement on a thread checks the membership.
#[derive(Debug, Clone)]
pub struct Actor {
    /// The user's family.
    pub family: FamilyId,
    /// The user.
    pub user: UserId,
    /// The scope of the caller's credentials.
    pub scope: Scope,
    /// The source address of the request; `None` if unknown.
    pub source: Option<IpAddr>,
}

impl Actor {
    /// A caller with a token and an unknown source address.
    #[must_use]
    pub const fn member(family: FamilyId, user: UserId) -> Self {
        Self { family, user, scope: Scope::AllThreads, source: None }
    }
}

/// The threads that a caller's credentials give access to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// All threads of the user: a token from the host application's identity provider.
    AllThreads,
    /// Only these threads: a browser's sessions, each opened by a link.
    Threads(Vec<ThreadId>),
}

impl Scope {
    /// Whether the credentials give access to `thread_id`.
    #[must_use]
    pub fn includes(&self, thread_id: ThreadId) -> bool {
        self.threads().is_none_or(|threads| threads.contains(&thread_id))
    }

    /// The threads that a list is limited to; `None` means all.
    #[must_use]
    pub fn threads(&self) -> Option<&[ThreadId]> {
        match self {
            Self::AllThreads => None,
            Self::Threads(threads) => Some(threads),
        }
    }
}

/// The host application as the caller, acting on one family.
#[derive(Debug, Clone)]
pub struct Host {
    /// The family.
    pub family: FamilyId,
    /// The source address of the request; `None` if unknown.
    pub source: Option<IpAddr>,
}
