//! The principals that use cases act for: a member of a family, and the host application.

use std::net::IpAddr;

use crate::ids::{FamilyId, ThreadId, UserId};

/// The authenticated caller of a request, a member of a family.
///
/// Its credentials hold. Whether it is a member of a thread is checked by each statement on that thread.
#[derive(Debug, Clone)]
pub struct Actor {
    /// The member's family.
    pub family: FamilyId,
    /// The member.
    pub user: UserId,
    /// What the caller's credentials reach.
    pub scope: Scope,
    /// The source address of the request, as the network says it; `None` where it is not known.
    pub source: Option<IpAddr>,
}

impl Actor {
    /// A member by a token, whose source address is not known.
    #[must_use]
    pub const fn member(family: FamilyId, user: UserId) -> Self {
        Self { family, user, scope: Scope::AllThreads, source: None }
    }
}

/// The threads that a caller's credentials reach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// All threads of the member: a token from the host application's identity provider.
    AllThreads,
    /// These alone: a browser's sessions, each of which a link began.
    Threads(Vec<ThreadId>),
}

impl Scope {
    /// Whether the credentials reach `thread_id`.
    #[must_use]
    pub fn includes(&self, thread_id: ThreadId) -> bool {
        self.threads().is_none_or(|threads| threads.contains(&thread_id))
    }

    /// The threads that a list is limited to; `None` for all.
    #[must_use]
    pub fn threads(&self) -> Option<&[ThreadId]> {
        match self {
            Self::AllThreads => None,
            Self::Threads(threads) => Some(threads),
        }
    }
}

/// The host application, acting on one family.
#[derive(Debug, Clone)]
pub struct Host {
    /// The family.
    pub family: FamilyId,
    /// The source address of the request, as the network says it; `None` where it is not known.
    pub source: Option<IpAddr>,
}
