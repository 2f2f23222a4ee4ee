//! Exports: all that is kept of a family, a page of rows at a time, in one order that a cursor can
//! take up again.

mod store;

use serde::Deserialize;
use time::OffsetDateTime;

pub use crate::cursor::{ExportCursor, ExportPlace};
use crate::{
    Error, Result,
    access::Role,
    actor::Host,
    audit::{self, Action, Event},
    db::{self, Pool, Transaction},
    delivery::Delivery,
    families::{Family, User},
    ids::{ThreadId, UserId},
    members::MemberStatus,
    messages::Message,
    threads::Kind,
};

/// A member, active or not.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct ExportedUser {
    /// What the host application says of them.
    #[sqlx(flatten)]
    pub user: User,
    /// Since when they want no texts.
    pub opted_out_at: Option<OffsetDateTime>,
    /// Since when they are deactivated.
    pub deactivated_at: Option<OffsetDateTime>,
}

/// A thread with everybody who ever was in it.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct ExportedThread {
    /// Its id.
    pub thread_id: ThreadId,
    /// What it is for.
    pub kind: Kind,
    /// Its title, if it was given one. Written by people: not for logs.
    pub title: Option<String>,
    /// Who created it.
    pub created_by: UserId,
    /// The number of its newest message; 0 when there is none.
    pub last_seq: i64,
    /// When its newest message was posted.
    pub last_message_at: Option<OffsetDateTime>,
    /// When it was created.
    pub created_at: OffsetDateTime,
    /// Who is or was in it.
    #[sqlx(json)]
    pub members: Vec<ExportedMember>,
}

/// Somebody who is or was in a thread.
#[derive(Debug, Clone, Deserialize)]
pub struct ExportedMember {
    /// Who.
    pub user_id: UserId,
    /// What they are or were in it.
    pub role: Role,
    /// Whether they are still in it.
    pub status: MemberStatus,
    /// The newest message that they have read; 0 before the first.
    pub last_read_seq: i64,
    /// When they joined.
    #[serde(with = "time::serde::rfc3339")]
    pub joined_at: OffsetDateTime,
    /// When they ceased to be in it.
    #[serde(with = "time::serde::rfc3339::option")]
    pub ended_at: Option<OffsetDateTime>,
}

/// A message, and who got it.
#[derive(Clone, sqlx::FromRow)]
pub struct ExportedMessage {
    /// The message.
    #[sqlx(flatten)]
    pub message: Message,
    /// Its thread's title, if it was given one.
    pub thread_title: Option<String>,
    /// What its thread is for.
    pub thread_kind: Kind,
    /// The deliveries that are still known.
    #[sqlx(json)]
    pub deliveries: Vec<Delivery>,
}

/// An export under way: one transaction, one family.
pub struct Export {
    tx: Transaction,
    /// The family.
    pub family: Family,
}

/// Begins to read a family out, and notes that somebody does.
///
/// # Errors
/// [`Error::FamilyNotFound`].
pub async fn begin(pool: &Pool, host: &Host) -> Result<Export> {
    let family_id = &host.family;
    let mut tx = db::begin_for_family(pool, family_id).await?;
    let family = store::find_family(&mut tx, family_id).await?.ok_or(Error::FamilyNotFound)?;
    audit::record(&mut tx, family_id, &host.into(), &[Event::new(Action::ExportMade)]).await?;
    Ok(Export { tx, family })
}

impl Export {
    /// The next members, by their ids: up to 500.
    ///
    /// # Errors
    /// [`Error`] of the database alone.
    pub async fn users(&mut self, after: Option<&UserId>) -> Result<Vec<ExportedUser>> {
        store::list_users(&mut self.tx, &self.family.family_id, after).await
    }

    /// The next threads, the oldest first: up to 25, each with up to 256 members and who left.
    ///
    /// # Errors
    /// [`Error`] of the database alone.
    pub async fn threads(&mut self, after: Option<ThreadId>) -> Result<Vec<ExportedThread>> {
        store::list_threads(&mut self.tx, &self.family.family_id, after).await
    }

    /// The next messages, thread by thread: up to 100.
    ///
    /// # Errors
    /// [`Error`] of the database alone.
    pub async fn messages(
        &mut self,
        after: Option<(ThreadId, i64)>,
    ) -> Result<Vec<ExportedMessage>> {
        store::list_messages(&mut self.tx, &self.family.family_id, after).await
    }

    /// Ends it. What was not ended was not made, and is not noted.
    ///
    /// # Errors
    /// [`Error`] of the database alone.
    pub async fn finish(self) -> Result<()> {
        self.tx.commit().await?;
        Ok(())
    }
}
