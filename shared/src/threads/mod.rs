//! Threads and their members.

mod store;

use std::{collections::BTreeSet, str::FromStr};

use sha2::{Digest, Sha256};
use time::OffsetDateTime;

pub use crate::cursor::InboxCursor;
use crate::{
    Error, Result,
    access::Role,
    actor::Actor,
    audit::{self, Action, Event},
    db::{self, Pool, Transaction},
    ids::{FamilyId, ThreadId, UserId},
    limits::Pace,
    text::preview,
    text_enum::text_enum,
};

/// Maximum members of a thread, the caller included.
pub const MEMBERS_MAX: usize = 256;
/// Maximum threads of a family.
pub const THREADS_MAX: i32 = 10_000;
/// Maximum length of a title, in characters.
pub const TITLE_MAX: usize = 200;
/// Maximum length of a last message's preview, in characters.
pub const PREVIEW_MAX: usize = 140;

/// Attempts to find or create a thread: a second after losing the race to create it.
const RESOLVE_ROUNDS: usize = 2;

text_enum! {
    /// The kind of a thread.
    #[derive(Default, utoipa::ToSchema)]
    pub enum Kind {
        /// The family's thread.
        #[default]
        Family = "FAMILY",
        /// A direct message between two users.
        Dm = "DM",
        /// Some users of the family.
        Group = "GROUP",
    }
}

impl FromStr for Kind {
    type Err = UnknownKind;

    fn from_str(value: &str) -> Result<Self, UnknownKind> {
        Self::of(value).ok_or(UnknownKind)
    }
}

impl Kind {
    /// Returns the title in API responses of a thread without one. Pages and SMS show it in the user's
    /// language.
    #[must_use]
    pub const fn default_title(self) -> &'static str {
        match self {
            Self::Dm => "Direct Message",
            Self::Family | Self::Group => "Family Chat",
        }
    }
}

/// A string that is not a [`Kind`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be FAMILY, DM or GROUP")]
pub struct UnknownKind;

/// The members of a thread to find or create, sorted and distinct.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberSet(Vec<UserId>);

impl MemberSet {
    /// Makes the set of `caller` and `others`.
    ///
    /// # Errors
    /// [`Error::TooManyMembers`], [`Error::DmNeedsTwo`].
    pub fn new(
        kind: Kind,
        caller: &UserId,
        others: impl IntoIterator<Item = UserId>,
    ) -> Result<Self> {
        let mut members: BTreeSet<UserId> = others.into_iter().collect();
        members.insert(caller.clone());
        if members.len() > MEMBERS_MAX {
            return Err(Error::TooManyMembers);
        }
        if kind == Kind::Dm && members.len() != 2 {
            return Err(Error::DmNeedsTwo);
        }
        Ok(Self(members.into_iter().collect()))
    }

    /// Returns the hex SHA-256 of the sorted ids joined with `,`.
    #[must_use]
    pub fn key(&self) -> String {
        let mut hash = Sha256::new();
        for (i, member) in self.0.iter().enumerate() {
            if i > 0 {
                hash.update(b",");
            }
            hash.update(member.as_str());
        }
        hex::encode(hash.finalize())
    }

    /// Returns the sorted ids.
    #[must_use]
    pub fn ids(&self) -> &[UserId] {
        &self.0
    }
}

/// A thread with its active members.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Thread {
    /// Its id.
    pub thread_id: ThreadId,
    /// Its family.
    pub family_id: FamilyId,
    /// Its kind.
    pub kind: Kind,
    /// Its title, if it has one. User content: not for logs.
    pub title: Option<String>,
    /// The [`MemberSet::key`] of its members.
    pub member_key: String,
    /// The number of its newest message; 0 when there is none.
    pub last_seq: i64,
    /// When its newest message was posted.
    pub last_message_at: Option<OffsetDateTime>,
    /// When it was created.
    pub created_at: OffsetDateTime,
    /// When it last changed.
    pub updated_at: OffsetDateTime,
    /// Its active members, in the order of joining.
    #[sqlx(json)]
    pub members: Vec<Member>,
}

/// An active member of a thread.
#[derive(Debug, Clone, serde::Deserialize)]
pub struct Member {
    /// The user.
    pub user_id: UserId,
    /// The user's name.
    pub name: String,
    /// The role.
    pub role: Role,
    /// When the user joined.
    #[serde(with = "time::serde::rfc3339")]
    pub joined_at: OffsetDateTime,
}

/// A thread in a member's inbox.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct InboxEntry {
    /// The thread.
    #[sqlx(flatten)]
    pub thread: Thread,
    /// The time of the last activity, which the inbox is sorted by.
    pub active_at: OffsetDateTime,
    /// The number of unread messages.
    pub unread_count: i64,
    last_author_id: Option<UserId>,
    last_author_name: Option<String>,
    last_body: Option<String>,
    last_file_count: Option<i32>,
}

/// A summary of a thread's newest message.
#[derive(Debug, Clone)]
pub struct LastMessage {
    /// Its author.
    pub author_id: UserId,
    /// The author's name; `None` if the author was erased.
    pub author_name: Option<String>,
    /// One line of up to [`PREVIEW_MAX`] characters.
    pub preview: String,
    /// When it was posted.
    pub created_at: OffsetDateTime,
}

impl InboxEntry {
    /// Returns the thread's newest message, if it has one.
    #[must_use]
    pub fn last_message(&self) -> Option<LastMessage> {
        let files = match self.last_file_count? {
            0 => String::new(),
            1 => "[photo]".to_owned(),
            n => format!("[{n} files]"),
        };
        Some(LastMessage {
            author_id: self.last_author_id.clone()?,
            author_name: self.last_author_name.clone(),
            preview: self.last_body.as_deref().map_or(files, |body| preview(body, PREVIEW_MAX)),
            created_at: self.thread.last_message_at?,
        })
    }
}

/// A thread to find or create.
#[derive(Debug, Clone)]
pub struct NewThread {
    /// The kind.
    pub kind: Kind,
    /// The members.
    pub members: MemberSet,
    /// The title; `None` for the kind's default.
    pub title: Option<String>,
    /// Whether to create a new thread even if these members have one.
    pub distinct: bool,
}

/// Finds the thread of this family, kind and member set, or creates it.
///
/// Concurrent calls create one thread, which all of them return. The flag is `true` for the call that created
/// it. Only that one counts towards `pace` and [`THREADS_MAX`].
///
/// # Errors
/// [`Error::UnknownMembers`] if a member is not an active user of the family; [`Error::TooOften`] for new
/// threads faster than `pace`; [`Error::TooManyThreads`].
pub async fn resolve_or_create(
    pool: &Pool,
    actor: &Actor,
    new: &NewThread,
    pace: Option<Pace>,
) -> Result<(Thread, bool)> {
    let member_key = new.members.key();
    for _ in 0..RESOLVE_ROUNDS {
        let mut tx = db::begin_for_family(pool, &actor.family).await?;
        let found = if new.distinct {
            None
        } else {
            store::find_by_members(&mut tx, &actor.family, new, &member_key).await?
        };
        match found {
            Some(thread) if thread.members.len() == new.members.ids().len() => {
                tx.end();
                return Ok((thread, false));
            }
            Some(thread) => {
                return Ok((rejoin(tx, actor, new, &member_key, thread.thread_id).await?, false));
            }
            None => {
                if let Some(thread) = create(tx, actor, new, member_key.clone(), pace).await? {
                    return Ok((thread, true));
                }
            }
        }
    }
    Err(Error::Corrupt("a thread can be neither found nor created"))
}

/// Creates a thread and commits. `None` if another call has just created it.
async fn create(
    mut tx: Transaction,
    actor: &Actor,
    new: &NewThread,
    member_key: String,
    pace: Option<Pace>,
) -> Result<Option<Thread>> {
    let (thread_id, wanted) = (ThreadId::new(), new.members.ids());
    let row = store::insert(&mut tx, actor, thread_id, new, &member_key, pace).await?;
    let Some(created_at) = row.created_at else {
        // Nothing was created, and the dropped transaction takes back what was counted.
        if row.ids.len() < wanted.len() {
            let unknown = wanted.iter().filter(|id| !row.ids.contains(id));
            return Err(Error::UnknownMembers(unknown.map(ToString::to_string).collect()));
        }
        return match pace {
            Some(pace) if !row.paced => {
                Err(Error::TooOften { retry_after: store::get_wait(&mut tx, actor, pace).await? })
            }
            _ if !row.counted => Err(Error::TooManyThreads),
            _ => Ok(None),
        };
    };
    tx.commit().await?;
    let members = row.ids.into_iter().zip(row.names).map(|(user_id, name)| {
        let role = if user_id == actor.user { Role::Owner } else { Role::Member };
        Member { user_id, name, role, joined_at: created_at }
    });
    Ok(Some(Thread {
        thread_id,
        family_id: actor.family.clone(),
        kind: new.kind,
        title: new.title.clone(),
        member_key,
        last_seq: 0,
        last_message_at: None,
        created_at,
        updated_at: created_at,
        members: members.collect(),
    }))
}

/// Reactivates the memberships of users that were deactivated and provisioned again, commits, and returns
/// the thread.
async fn rejoin(
    mut tx: Transaction,
    actor: &Actor,
    new: &NewThread,
    member_key: &str,
    thread_id: ThreadId,
) -> Result<Thread> {
    let family_id = &actor.family;
    let unknown = store::list_unknown(&mut tx, family_id, new.members.ids()).await?;
    if !unknown.is_empty() {
        return Err(Error::UnknownMembers(unknown));
    }
    let back = store::rejoin(&mut tx, family_id, thread_id).await?;
    let thread = store::find_by_members(&mut tx, family_id, new, member_key).await?;
    let thread = thread.ok_or(Error::ThreadNotFound)?;
    let joined = thread.members.iter().filter(|member| back.contains(&member.user_id));
    let events: Vec<Event> = joined
        .map(|member| {
            let joined = Event::of(Action::MemberJoined, &member.user_id);
            joined.in_thread(thread_id).in_role(member.role)
        })
        .collect();
    audit::record(&mut tx, family_id, &actor.into(), &events).await?;
    tx.commit().await?;
    Ok(thread)
}

/// Returns up to `limit` of the caller's threads within its scope, the most recently active first, and the
/// cursor of the next page.
///
/// # Errors
/// Only database errors.
pub async fn list(
    pool: &Pool,
    actor: &Actor,
    after: Option<InboxCursor>,
    limit: usize,
) -> Result<(Vec<InboxEntry>, Option<InboxCursor>)> {
    let (family_id, caller, scope) = (&actor.family, &actor.user, actor.scope.threads());
    let mut tx = db::begin_for_family(pool, family_id).await?;
    let mut entries = store::list(&mut tx, family_id, caller, scope, after, limit + 1).await?;
    tx.end();
    let more = entries.len() > limit;
    entries.truncate(limit);
    let next = entries
        .last()
        .filter(|_| more)
        .map(|last| InboxCursor { active_at: last.active_at, thread_id: last.thread.thread_id });
    Ok((entries, next))
}

/// Returns one of the caller's threads.
///
/// # Errors
/// [`Error::ThreadNotFound`], also if the caller is not an active member.
pub async fn get(pool: &Pool, actor: &Actor, thread_id: ThreadId) -> Result<InboxEntry> {
    let (family_id, caller) = (&actor.family, &actor.user);
    let mut tx = db::begin_for_family(pool, family_id).await?;
    let entry = store::find_entry(&mut tx, family_id, caller, thread_id).await?;
    tx.end();
    entry.ok_or(Error::ThreadNotFound)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(names: &[&str]) -> Vec<UserId> {
        names.iter().map(|name| name.parse().expect("an id")).collect()
    }

    fn caller() -> UserId {
        "user_a".parse().expect("an id")
    }

    #[test]
    fn order_and_repetition_do_not_change_the_set() {
        let one = MemberSet::new(Kind::Group, &caller(), ids(&["user_c", "user_b"]));
        let two =
            MemberSet::new(Kind::Group, &caller(), ids(&["user_b", "user_a", "user_c", "user_b"]));
        let (one, two) = (one.expect("valid"), two.expect("valid"));
        assert_eq!(one, two);
        // printf 'user_a,user_b,user_c' | sha256sum
        assert_eq!(one.key(), "462b488ad3e8c47967e699e4124e6bba0f3297204f1c936020f7713ca2e167a2");
    }

    #[test]
    fn a_direct_message_is_between_two() {
        for others in [&[][..], &["user_a"], &["user_b", "user_c"]] {
            let set = MemberSet::new(Kind::Dm, &caller(), ids(others));
            assert!(matches!(set, Err(Error::DmNeedsTwo)), "{others:?}");
        }
        assert!(MemberSet::new(Kind::Dm, &caller(), ids(&["user_b"])).is_ok());
    }

    #[test]
    fn the_caller_counts_among_the_256() {
        let others = |n| (0..n).map(|i| format!("u{i}").parse().expect("an id"));
        assert!(MemberSet::new(Kind::Family, &caller(), others(255)).is_ok());
        let many = MemberSet::new(Kind::Family, &caller(), others(256));
        assert!(matches!(many, Err(Error::TooManyMembers)));
    }
}
