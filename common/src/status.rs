//! The pure functions that alone decide the status of a recipient and of a message.
//!
//! A recipient's state only rises: a report of a lower or equal rank changes nothing, whatever its timestamp says.
//! A message's status follows from its recipients alone and therefore rises too, in the order
//! `pending < sent < failed < delivered < read`.
//!
//! ```
//! use common::status::{MessageStatus, Rank, RecipientState, Tally};
//!
//! let mut tally = Tally::new(2);
//! let report = |status| Rank::from_telnyx(status).map(|rank| RecipientState { rank, closed: false });
//!
//! // One recipient's reports arrive in the wrong order: `sent` comes last and changes nothing.
//! let delivered = RecipientState::NEW.join(report("delivered").unwrap());
//! assert_eq!(delivered.join(report("sent").unwrap()), delivered);
//! tally.moved(RecipientState::NEW, delivered);
//! assert_eq!(tally.status(), MessageStatus::Pending);
//!
//! // The other one fails.
//! let failed = RecipientState::NEW.join(report("delivery_failed").unwrap());
//! tally.moved(RecipientState::NEW, failed);
//! assert_eq!(tally.status(), MessageStatus::Delivered);
//! assert_eq!((tally.delivered, tally.failed), (1, 1));
//! ```

use serde::{Deserialize, Serialize};

/// Telnyx's status of one recipient, from lowest to highest. Only a higher one is applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rank {
    /// Accepted by message-api or by Telnyx.
    Queued = 0,
    /// Telnyx is handing it to the carrier.
    Sending = 1,
    /// The carrier has it.
    Sent = 2,
    /// The carrier sends no receipt. Not a failure.
    Unconfirmed = 3,
    /// It did not arrive. A later `Delivered` still wins, because carriers do report this.
    Failed = 4,
    /// It arrived.
    Delivered = 5,
    /// It was opened. Only RCS reports this.
    Read = 6,
}

impl Rank {
    /// The rank of a recipient's status at Telnyx; `None` for an unknown status.
    pub fn from_telnyx(status: &str) -> Option<Self> {
        Some(match status {
            "queued" | "scheduled" => Self::Queued,
            "sending" => Self::Sending,
            "sent" => Self::Sent,
            "delivery_unconfirmed" | "unknown" => Self::Unconfirmed,
            "sending_failed" | "delivery_failed" | "expired" | "cancelled" => Self::Failed,
            "delivered" => Self::Delivered,
            "read" => Self::Read,
            _ => return None,
        })
    }

    /// The rank as the store holds it.
    pub fn as_i16(self) -> i16 {
        self as i16
    }

    /// Reads [`Rank::as_i16`] back; `None` for a number that this version does not know.
    pub fn from_i16(number: i16) -> Option<Self> {
        Some(match number {
            0 => Self::Queued,
            1 => Self::Sending,
            2 => Self::Sent,
            3 => Self::Unconfirmed,
            4 => Self::Failed,
            5 => Self::Delivered,
            6 => Self::Read,
            _ => return None,
        })
    }
}

/// The state of one recipient: an element of a lattice, joined with each report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RecipientState {
    /// The highest rank reported so far.
    pub rank: Rank,
    /// No receipt is expected any more. With a rank below [`Rank::Failed`] the recipient counts as unconfirmed.
    pub closed: bool,
}

impl RecipientState {
    /// A recipient without any report.
    pub const NEW: Self = Self { rank: Rank::Queued, closed: false };

    /// The state after a report: the higher rank, and closed if either is.
    #[must_use]
    pub fn join(self, report: Self) -> Self {
        Self { rank: self.rank.max(report.rank), closed: self.closed || report.closed }
    }

    /// Whether the recipient is finished: delivered, failed, or closed without a receipt.
    pub fn is_finished(self) -> bool {
        self.closed || self.rank >= Rank::Failed
    }

    /// The status that front ends see.
    pub fn status(self) -> MessageStatus {
        match self.rank {
            Rank::Read => MessageStatus::Read,
            Rank::Delivered => MessageStatus::Delivered,
            Rank::Failed => MessageStatus::Failed,
            _ if self.closed => MessageStatus::Sent,
            _ => MessageStatus::Pending,
        }
    }
}

/// The status of a message, and of a recipient as front ends see it. Rises in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MessageStatus {
    /// At least one recipient is not finished.
    Pending,
    /// Finished; the carrier took it, and no receipt is expected.
    Sent,
    /// Finished; every recipient failed.
    Failed,
    /// Finished; delivered to at least one recipient.
    Delivered,
    /// Finished; at least one recipient read it.
    Read,
}

impl MessageStatus {
    /// All of them, from lowest to highest.
    pub const ALL: [Self; 5] = [Self::Pending, Self::Sent, Self::Failed, Self::Delivered, Self::Read];

    /// The status in JSON and in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Sent => "sent",
            Self::Failed => "failed",
            Self::Delivered => "delivered",
            Self::Read => "read",
        }
    }

    /// Reads [`MessageStatus::as_str`] back.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == text)
    }
}

/// A message's recipients, counted by status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// All recipients.
    pub recipients: i32,
    /// Delivered, with those who read it.
    pub delivered: i32,
    /// Failed.
    pub failed: i32,
    /// Closed without a receipt.
    pub unconfirmed: i32,
    /// Read.
    pub read: i32,
    /// Failed because their message was cancelled before their turn.
    pub cancelled: i32,
}

impl Tally {
    /// A message without any report.
    pub fn new(recipients: i32) -> Self {
        Self { recipients, ..Self::default() }
    }

    /// Counts one recipient's change from one state to another.
    pub fn moved(&mut self, from: RecipientState, to: RecipientState) {
        self.add(from, -1);
        self.add(to, 1);
    }

    fn add(&mut self, state: RecipientState, by: i32) {
        match state.status() {
            MessageStatus::Pending => {}
            MessageStatus::Sent => self.unconfirmed += by,
            MessageStatus::Failed => self.failed += by,
            MessageStatus::Delivered => self.delivered += by,
            MessageStatus::Read => {
                self.delivered += by;
                self.read += by;
            }
        }
    }

    /// Whether every failure so far is a cancellation, of which nobody has to be notified.
    pub fn is_only_cancelled(&self) -> bool {
        self.cancelled > 0 && self.cancelled == self.failed
    }

    /// The message's status that follows from the counts.
    pub fn status(&self) -> MessageStatus {
        let finished = self.delivered + self.failed + self.unconfirmed;
        if finished < self.recipients {
            MessageStatus::Pending
        } else if self.read > 0 {
            MessageStatus::Read
        } else if self.delivered > 0 {
            MessageStatus::Delivered
        } else if self.unconfirmed > 0 {
            MessageStatus::Sent
        } else {
            MessageStatus::Failed
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn state() -> impl Strategy<Value = RecipientState> {
        (0..=6i16, any::<bool>())
            .prop_map(|(rank, closed)| RecipientState { rank: Rank::from_i16(rank).unwrap(), closed })
    }

    fn recount(states: &[RecipientState]) -> Tally {
        let mut tally = Tally::new(states.len() as i32);
        states.iter().for_each(|s| tally.moved(RecipientState::NEW, *s));
        tally
    }

    proptest! {
        #[test]
        fn reports_lead_to_the_same_state_in_any_order_and_repetition(
            reports in prop::collection::vec(state(), 1..8),
            order in prop::collection::vec(any::<prop::sample::Index>(), 0..24),
        ) {
            let straight = reports.iter().fold(RecipientState::NEW, |s, r| s.join(*r));
            let shuffled = order.iter().map(|i| *i.get(&reports)).chain(reports.iter().rev().copied())
                .fold(RecipientState::NEW, RecipientState::join);
            prop_assert_eq!(straight, shuffled);
        }

        #[test]
        fn neither_recipients_nor_messages_go_backwards(
            recipients in 1..5usize,
            reports in prop::collection::vec((any::<prop::sample::Index>(), state()), 1..40),
        ) {
            let mut states = vec![RecipientState::NEW; recipients];
            let mut tally = Tally::new(recipients as i32);
            for (who, report) in reports {
                let who = who.index(recipients);
                let (before, next) = (states[who], states[who].join(report));
                let status = tally.status();
                tally.moved(before, next);
                states[who] = next;
                prop_assert!(next.rank >= before.rank && next.closed >= before.closed);
                prop_assert!(next.status() >= before.status());
                prop_assert!(tally.status() >= status, "{:?} after {:?}", tally.status(), status);
                prop_assert_eq!(tally, recount(&states));
            }
        }

        #[test]
        fn the_counters_of_a_finished_message_sum_to_its_recipients(states in prop::collection::vec(state(), 1..8)) {
            let tally = recount(&states);
            let finished = states.iter().all(|s| s.is_finished());
            prop_assert_eq!(tally.status() != MessageStatus::Pending, finished);
            if finished {
                prop_assert_eq!(tally.delivered + tally.failed + tally.unconfirmed, tally.recipients);
            }
        }
    }

    #[test]
    fn the_statuses_of_telnyx_have_their_documented_ranks() {
        assert_eq!(Rank::from_telnyx("delivery_unconfirmed"), Some(Rank::Unconfirmed));
        assert_eq!(Rank::from_telnyx("expired"), Some(Rank::Failed));
        assert_eq!(Rank::from_telnyx("Delivered"), None);
        for number in 0..=6 {
            assert_eq!(Rank::from_i16(number).map(Rank::as_i16), Some(number));
        }
    }
}
