//! The wire shape of deliveries.

use serde::Serialize;
use shared::{
    delivery::{Delivery, DeliveryState, Reason},
    ids::{MessageId, UserId},
};
use utoipa::ToSchema;

use super::{Timestamp, shapes};

/// The delivery of a message to a recipient.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Delivery)]
pub struct DeliveryView {
    #[schema(value_type = shapes::UserId)]
    user_id: UserId,
    state: DeliveryState,
    /// The reason why it went no further, as a code; more may be added.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, nullable = false, examples("muted"))]
    reason: Option<Reason>,
    /// The number of calls to the carrier.
    #[schema(minimum = 0, examples(1))]
    attempts: i32,
    /// The number of segments of the SMS; null before it is composed.
    #[schema(minimum = 1, required = true, examples(1))]
    segments: Option<i32>,
    #[schema(required = true)]
    sent_at: Option<Timestamp>,
    #[schema(required = true)]
    opened_at: Option<Timestamp>,
    /// When the message was read, or at the latest.
    #[schema(required = true)]
    read_at: Option<Timestamp>,
    /// The later message whose SMS stands for this one as well.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<shapes::MessageId>, nullable = false)]
    covered_by: Option<MessageId>,
    /// When the SMS is due, if it waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    due_at: Option<Timestamp>,
}

impl From<Delivery> for DeliveryView {
    fn from(delivery: Delivery) -> Self {
        Self {
            user_id: delivery.recipient_id,
            state: delivery.state,
            reason: delivery.reason,
            attempts: delivery.attempts,
            segments: delivery.segments,
            sent_at: delivery.sent_at.map(Timestamp::from),
            opened_at: delivery.opened_at.map(Timestamp::from),
            read_at: delivery.read_at.map(Timestamp::from),
            covered_by: delivery.covered_by,
            due_at: delivery.due_at.map(Timestamp::from),
        }
    }
}
