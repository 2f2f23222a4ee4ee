//! The states of a notification, why it is in one, and how it gets there.
//!
//! `pending` → `sending` by a claim; `sending` → `sent`, `unknown`, `failed`, `suppressed` or
//! `pending` again by an outcome; `sending` → `unknown` when the lease runs out, and from there to
//! `sent` alone, by late proof. `pending` → `suppressed`, `cancelled` or `failed` without a call.

use crate::text_enum::text_enum;

text_enum! {
    /// How far a notification got.
    ///
    /// `unknown` is never sent again by itself: the carrier may have got it.
    #[derive(utoipa::ToSchema)]
    pub enum DeliveryState {
        /// Waits to be sent.
        Pending = "pending",
        /// Is being sent, under a lease.
        Sending = "sending",
        /// The carrier took it.
        Sent = "sent",
        /// The carrier may have taken it.
        Unknown = "unknown",
        /// The carrier never took it.
        Failed = "failed",
        /// No SMS is to be sent.
        Suppressed = "suppressed",
        /// Another notification's SMS tells of it.
        Merged = "merged",
        /// Waits for its time.
        Held = "held",
        /// What it was about, or the recipient's membership, has ended.
        Cancelled = "cancelled",
    }
}

text_enum! {
    /// Why a notification is in its state.
    pub enum Reason {
        /// The recipient has no phone number.
        NoNumber = "no_number",
        /// The recipient, or their number, wants no SMS.
        OptedOut = "opted_out",
        /// The recipient has muted the thread.
        Muted = "muted",
        /// The number is in a country that the family's SMS may not go to.
        RegionNotAllowed = "region_not_allowed",
        /// Nothing was sent within the notification's life.
        Expired = "expired",
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
        /// It was open when the database was restored; see `docs/operations.md`.
        Restored = "restored",
        /// There was too little time left to begin a call.
        NoTime = "no_time",
        /// The worker panicked.
        Panic = "panic",
        /// The link could not be signed.
        Signing = "signing",
        /// What is left of the family's cap may be spent by SMS that are just being sent.
        CapInUse = "cap_in_use",
        /// The family's cap is spent.
        CapReached = "cap_reached",
        /// What is left of the family's cap could not be found out.
        CapUnknown = "cap_unknown",
        /// The request to the carrier could not be made.
        Request = "request",
        /// The request never left.
        NotSent = "not_sent",
        /// The carrier could not be reached.
        Unreachable = "unreachable",
        /// The carrier did not answer in time.
        Timeout = "timeout",
        /// The connection was lost before the carrier's answer.
        ConnectionLost = "connection_lost",
        /// The carrier's answer could not be read.
        UnreadableAnswer = "unreadable_answer",
        /// The carrier takes no more just now.
        Throttled = "throttled",
        /// The carrier refused the request.
        Refused = "refused",
        /// The carrier failed.
        CarrierError = "carrier_error",
        /// The carrier knows no such number.
        InvalidNumber = "invalid_number",
        /// The carrier does not send such a text.
        InvalidText = "invalid_text",
        /// One of another release, which this one does not know.
        #[serde(other)]
        Other = "other",
    }
}

/// How an attempt went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The carrier took it.
    Sent {
        /// The carrier's own id of it.
        carrier_message_id: String,
        /// How many segments it was.
        segments: u32,
        /// It said how to opt out.
        stop_notice: bool,
    },
    /// The carrier may have taken it.
    Unknown {
        /// Why that is not known.
        reason: Reason,
    },
    /// A definite no for now: it is tried again later.
    Retry {
        /// Why.
        reason: Reason,
    },
    /// A permanent no.
    Failed {
        /// Why.
        reason: Reason,
    },
    /// The recipient's number refuses SMS: they count as opted out from now on.
    OptedOut,
    /// The carrier was not called, and will not be.
    Suppressed {
        /// Why.
        reason: Reason,
    },
}

impl Outcome {
    /// The state that it leads to.
    pub(super) const fn state(&self) -> DeliveryState {
        match self {
            Self::Sent { .. } => DeliveryState::Sent,
            Self::Unknown { .. } => DeliveryState::Unknown,
            Self::Retry { .. } => DeliveryState::Pending,
            Self::Failed { .. } | Self::OptedOut => DeliveryState::Failed,
            Self::Suppressed { .. } => DeliveryState::Suppressed,
        }
    }

    /// Why it leads there.
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
