//! Export of all data of a family, in pages of a fixed order that a cursor can continue.

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

/// A user, active or not.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct ExportedUser {
    /// The user as provisioned.
    #[sqlx(flatten)]
    pub user: User,
    /// When the user opted out of SMS.
    pub opted_out_at: Option<OffsetDateTime>,
    /// When the user was deactivated.
    pub deactivated_at: Option<OffsetDateTime>,
}

/// A thread with all present and former members.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct ExportedThread {
    /// Its id.
    pub thread_id: ThreadId,
    /// Its kind.
    pub kind: Kind,
    /// Its title, if it has one. User content: not for logs.
    pub title: Option<String>,
    /// The user that created it.
    pub created_by: UserId,
    /// The number of its newest message; 0 when there is none.
    pub last_seq: i64,
    /// When its newest message was posted.
    pub last_message_at: Option<OffsetDateTime>,
    /// When it was created.
    pub created_at: OffsetDateTime,
    /// Its present and former members.
    #[sqlx(json)]
    pub members: Vec<ExportedMember>,
}

/// A present or former member of a thread.
#[derive(Debug, Clone, Deserialize)]
pub struct ExportedMember {
    /// The user.
    pub user_id: UserId,
    /// The role.
    pub role: Role,
    /// The membership's status.
    pub status: MemberStatus,
    /// The number of the newest message read; 0 before the first.
    pub last_read_seq: i64,
    /// When the user joined.
    #[serde(with = "time::serde::rfc3339")]
    pub joined_at: OffsetDateTime,
    /// When the membership ended.
    #[serde(with = "time::serde::rfc3339::option")]
    pub ended_at: Option<OffsetDateTime>,
}

/// A message with its deliveries.
#[derive(Clone, sqlx::FromRow)]
pub struct ExportedMessage {
    /// The message.
    #[sqlx(flatten)]
    pub message: Message,
    /// Its thread's title, if it has one.
    pub thread_title: Option<String>,
    /// Its thread's kind.
    pub thread_kind: Kind,
    /// Its deliveries that have not been deleted yet.
    #[sqlx(json)]
    pub deliveries: Vec<Delivery>,
}

/// A running export of one family, in one transaction.
pub struct Export {
    tx: Transaction,
    /// The family.
    pub family: Family,
}

/// Begins an export and writes its audit event.
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
    /// Returns the next users, up to 500, ordered by id.
    ///
    /// # Errors
    /// Only database errors.
    pub async fn users(&mut self, after: Option<&UserId>) -> Result<Vec<ExportedUser>> {
        store::list_users(&mut self.tx, &self.family.family_id, after).await
    }

    /// Returns the next threads, up to 25, oldest first, each with up to 256 members and all former ones.
    ///
    /// # Errors
    /// Only database errors.
    pub async fn threads(&mut self, after: Option<ThreadId>) -> Result<Vec<ExportedThread>> {
        store::list_threads(&mut self.tx, &self.family.family_id, after).await
    }

    /// Returns the next messages, up to 100, thread by thread.
    ///
    /// # Errors
    /// Only database errors.
    pub async fn messages(
        &mut self,
        after: Option<(ThreadId, i64)>,
    ) -> Result<Vec<ExportedMessage>> {
        store::list_messages(&mut self.tx, &self.family.family_id, after).await
    }

    /// Commits. An export that is not finished leaves no audit event.
    ///
    /// # Errors
    /// Only database errors.
    pub async fn finish(self) -> Result<()> {
        self.tx.commit().await?;
        Ok(())
    }
}
