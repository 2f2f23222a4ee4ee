//! The ledger: which member got a message, by SMS or by reading.

use time::OffsetDateTime;

use super::{
    state::{DeliveryState, Reason},
    store,
};
use crate::{
    Result,
    actor::Actor,
    db::{self, Pool},
    ids::{MessageId, ThreadId, UserId},
};

/// The delivery of a message to one recipient.
#[derive(Debug, Clone, sqlx::FromRow, serde::Deserialize)]
pub struct Delivery {
    /// The recipient.
    pub recipient_id: UserId,
    /// The state, of the SMS that covers the message if there is one.
    pub state: DeliveryState,
    /// The reason for the state.
    pub reason: Option<Reason>,
    /// The number of carrier calls of that SMS.
    pub attempts: i32,
    /// The number of segments sent.
    pub segments: Option<i32>,
    /// When the carrier accepted it.
    #[serde(with = "time::serde::rfc3339::option")]
    pub sent_at: Option<OffsetDateTime>,
    /// When its link was opened.
    #[serde(with = "time::serde::rfc3339::option")]
    pub opened_at: Option<OffsetDateTime>,
    /// When the message was read, or at the latest.
    #[serde(with = "time::serde::rfc3339::option")]
    pub read_at: Option<OffsetDateTime>,
    /// The later message whose SMS covers this one as well.
    pub covered_by: Option<MessageId>,
    /// When the SMS is due; `None` if none will be sent, or one is being sent or was.
    #[serde(with = "time::serde::rfc3339::option")]
    pub due_at: Option<OffsetDateTime>,
}

/// Returns the deliveries of a message, one for each recipient, ordered by user id.
///
/// # Errors
/// [`crate::Error::ThreadNotFound`], also if the caller is not an active member;
/// [`crate::Error::MessageNotFound`].
pub async fn deliveries(
    pool: &Pool,
    actor: &Actor,
    thread_id: ThreadId,
    message_id: MessageId,
) -> Result<Vec<Delivery>> {
    let mut tx = db::begin_for_family(pool, &actor.family).await?;
    let found = store::ledger::list(&mut tx, actor, thread_id, message_id).await?;
    tx.end();
    Ok(found)
}
