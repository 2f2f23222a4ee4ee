//! The states of an SMS, their reasons, and the outcomes that lead to them.
//!
//! A claim makes it `sending`: a new one, or one that was `pending`. `sending` → `sent`, `unknown`, `failed`,
//! `suppressed` or `pending` again by an outcome; `sending` → `unknown` when the lease expires, and then only to
//! `sent`, by a late record. `pending` → `suppressed`, `cancelled` or `failed` without a carrier call.

use crate::text_enum::text_enum;

text_enum! {
    /// The state of an SMS, and of a message's delivery to a recipient.
    ///
    /// `unknown` is never retried automatically: the carrier may have accepted the SMS.
    #[derive(utoipa::ToSchema)]
    pub enum DeliveryState {
        /// To be sent.
        Pending = "pending",
        /// Being sent, under a lease.
        Sending = "sending",
        /// The carrier accepted it.
        Sent = "sent",
        /// The carrier may have accepted it.
        Unknown = "unknown",
        /// The carrier never accepted it.
        Failed = "failed",
        /// Not to be sent.
        Suppressed = "suppressed",
        /// Not needed any more: the messages were read or deleted, or the recipient's membership has ended.
        Cancelled = "cancelled",
    }
}

text_enum! {
    /// The reason for a state.
    pub enum Reason {
        /// The recipient has no phone number.
        NoNumber = "no_number",
        /// The recipient or the number has opted out.
        OptedOut = "opted_out",
        /// The recipient has muted the thread.
        Muted = "muted",
        /// The family's SMS may not go to the number's country.
        RegionNotAllowed = "region_not_allowed",
        /// It was not sent before its expiry.
        Expired = "expired",
        /// The recipient had read it before an SMS was sent.
        Read = "read",
        /// The message was deleted.
        MessageDeleted = "message_deleted",
        /// The recipient was deactivated.
        Deactivated = "deactivated",
        /// The recipient has not joined the thread.
        Invited = "invited",
        /// The recipient has left the thread.
        Left = "left",
        /// The recipient was removed from the thread.
        Removed = "removed",
        /// The recipient was banned from the thread.
        Banned = "banned",
        /// The worker that held the lease recorded no outcome.
        LeaseExpired = "lease_expired",
        /// It was unfinished when the database was restored; see `docs/operations.md`.
        Restored = "restored",
        /// The invocation had too little time left for a call.
        NoTime = "no_time",
        /// The worker panicked.
        Panic = "panic",
        /// The link could not be signed.
        Signing = "signing",
        /// SMS that are being sent may use the rest of the family's cap.
        CapInUse = "cap_in_use",
        /// The family's cap is spent.
        CapReached = "cap_reached",
        /// The rest of the family's cap could not be read.
        CapUnknown = "cap_unknown",
        /// The request to the carrier could not be made.
        Request = "request",
        /// The request was never sent.
        NotSent = "not_sent",
        /// The carrier could not be reached.
        Unreachable = "unreachable",
        /// The carrier did not answer in time.
        Timeout = "timeout",
        /// The connection was lost before the carrier's answer.
        ConnectionLost = "connection_lost",
        /// The carrier's answer could not be read.
        UnreadableAnswer = "unreadable_answer",
        /// The carrier throttled the request.
        Throttled = "throttled",
        /// The carrier refused the request.
        Refused = "refused",
        /// The carrier failed.
        CarrierError = "carrier_error",
        /// The carrier refused the number.
        InvalidNumber = "invalid_number",
        /// The carrier refused the SMS's content.
        InvalidText = "invalid_text",
        /// A reason of another release.
        #[serde(other)]
        Other = "other",
    }
}

/// The outcome of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The carrier took it.
    Sent {
        /// The carrier's id of the SMS.
        carrier_message_id: String,
        /// The number of its segments.
        segments: u32,
        /// Whether it said how to opt out.
        stop_notice: bool,
    },
    /// The carrier may have taken it.
    Unknown {
        /// The reason.
        reason: Reason,
    },
    /// A definite refusal for now, to be retried.
    Retry {
        /// The reason.
        reason: Reason,
    },
    /// A permanent refusal.
    Failed {
        /// The reason.
        reason: Reason,
    },
    /// The number has opted out at the carrier; the recipient is opted out as well.
    OptedOut,
    /// The carrier was not called, and will not be.
    Suppressed {
        /// The reason.
        reason: Reason,
    },
}

impl Outcome {
    /// The resulting state.
    pub(super) const fn state(&self) -> DeliveryState {
        match self {
            Self::Sent { .. } => DeliveryState::Sent,
            Self::Unknown { .. } => DeliveryState::Unknown,
            Self::Retry { .. } => DeliveryState::Pending,
            Self::Failed { .. } | Self::OptedOut => DeliveryState::Failed,
            Self::Suppressed { .. } => DeliveryState::Suppressed,
        }
    }

    /// The reason for that state.
    #[must_use]
    pub const fn reason(&self) -> Option<Reason> {
        match self {
            Self::Sent { .. } => None,
            Self::OptedOut => Some(Reason::OptedOut),
            Self::Unknown { reason }
            | Self::Retry { reason }
            | Self::Failed { reason }
            | Self::Suppressed { reason } => Some(*reason),
        }
    }
}
