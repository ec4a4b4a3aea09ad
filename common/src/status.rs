//! The status of a recipient and of a message: two pure functions, and nothing else decides a status.
//!
//! A recipient's state only rises: a report of a lower or equal rank changes nothing, whatever its timestamp says.
//! A message's status follows from its recipients alone and therefore rises too, in the order
//! `pending < sent < failed < delivered < read`.

use serde::{Deserialize, Serialize};

/// What Telnyx says of one recipient, from lowest to highest. Only a higher one is applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rank {
    /// Accepted by us or by Telnyx, not handed on.
    Queued = 0,
    /// Being handed to the carrier.
    Sending = 1,
    /// With the carrier.
    Sent = 2,
    /// The carrier gives no receipt. Not a failure.
    Unconfirmed = 3,
    /// It did not arrive, as far as is known; a later `Delivered` still wins, because carriers do this.
    Failed = 4,
    /// It arrived.
    Delivered = 5,
    /// It was opened (RCS alone reports it).
    Read = 6,
}

impl Rank {
    /// The rank of Telnyx's word for a recipient's status, `None` for a word that we do not know.
    pub fn from_telnyx(word: &str) -> Option<Self> {
        Some(match word {
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

    /// The rank as the store keeps it.
    pub fn as_i16(self) -> i16 {
        self as i16
    }

    /// The rank that the store kept; `None` for a number that this version does not know.
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

/// The state of one recipient: a point of a lattice that is only ever climbed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RecipientState {
    /// The highest rank reported so far.
    pub rank: Rank,
    /// No receipt will come any more; with a rank below [`Rank::Failed`] the recipient counts as unconfirmed.
    pub closed: bool,
}

impl RecipientState {
    /// A recipient of whom nothing is known yet.
    pub const NEW: Self = Self { rank: Rank::Queued, closed: false };

    /// The state after a report: the higher rank, and closed once closed.
    #[must_use]
    pub fn join(self, report: Self) -> Self {
        Self { rank: self.rank.max(report.rank), closed: self.closed || report.closed }
    }

    /// Whether the recipient has an end: a receipt, a failure, or the knowledge that no receipt will come.
    pub fn is_finished(self) -> bool {
        self.closed || self.rank >= Rank::Failed
    }

    /// The word that front ends know.
    pub fn word(self) -> MessageStatus {
        match self.rank {
            Rank::Read => MessageStatus::Read,
            Rank::Delivered => MessageStatus::Delivered,
            Rank::Failed => MessageStatus::Failed,
            _ if self.closed => MessageStatus::Sent,
            _ => MessageStatus::Pending,
        }
    }
}

/// A message's status, and a recipient's in the words of the front end. Rises in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MessageStatus {
    /// Some recipient has no end yet.
    Pending,
    /// Finished; accepted by the carrier, and no receipt will ever come.
    Sent,
    /// Finished; every recipient failed.
    Failed,
    /// Finished; at least one recipient got it.
    Delivered,
    /// Finished; at least one recipient read it.
    Read,
}

impl MessageStatus {
    /// The status as it stands in JSON and in the database.
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
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Pending, Self::Sent, Self::Failed, Self::Delivered, Self::Read]
            .into_iter()
            .find(|s| s.as_str() == word)
    }
}

/// How a message's recipients stand, counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// All recipients.
    pub recipients: i32,
    /// Those delivered to, the ones who read it included.
    pub delivered: i32,
    /// Those who failed.
    pub failed: i32,
    /// Those closed without a receipt.
    pub unconfirmed: i32,
    /// Those who read it.
    pub read: i32,
}

impl Tally {
    /// A message of which nothing is known yet.
    pub fn new(recipients: i32) -> Self {
        Self { recipients, ..Self::default() }
    }

    /// Counts one recipient's climb from one state to another.
    pub fn moved(&mut self, from: RecipientState, to: RecipientState) {
        self.add(from, -1);
        self.add(to, 1);
    }

    fn add(&mut self, state: RecipientState, by: i32) {
        match state.word() {
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
        fn reports_in_any_order_and_repetition_end_in_the_same_state(
            reports in prop::collection::vec(state(), 1..8),
            order in prop::collection::vec(any::<prop::sample::Index>(), 0..24),
        ) {
            let straight = reports.iter().fold(RecipientState::NEW, |s, r| s.join(*r));
            let shuffled = order.iter().map(|i| *i.get(&reports)).chain(reports.iter().rev().copied())
                .fold(RecipientState::NEW, RecipientState::join);
            prop_assert_eq!(straight, shuffled);
        }

        #[test]
        fn neither_a_recipient_nor_a_message_ever_goes_backwards(
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
                prop_assert!(next.word() >= before.word());
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
    fn telnyx_words_have_the_ranks_of_their_documentation() {
        assert_eq!(Rank::from_telnyx("delivery_unconfirmed"), Some(Rank::Unconfirmed));
        assert_eq!(Rank::from_telnyx("expired"), Some(Rank::Failed));
        assert_eq!(Rank::from_telnyx("Delivered"), None);
        for number in 0..=6 {
            assert_eq!(Rank::from_i16(number).map(Rank::as_i16), Some(number));
        }
    }
}
