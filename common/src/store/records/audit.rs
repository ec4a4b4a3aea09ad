//! The result of an audit.

use serde::Serialize;
use uuid::Uuid;

/// Sums of all webhooks, and the counts of contradictions.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Audit {
    /// Webhooks that were answered 2xx, repetitions included, and reports that Telnyx was asked for.
    pub accepted: i64,
    /// Of these, applied.
    pub applied: i64,
    /// Of these, repetitions.
    pub duplicate: i64,
    /// Of these, stale.
    pub stale: i64,
    /// Of these, waiting for their recipient.
    pub parked: i64,
    /// Of these, texts that were recorded.
    pub received: i64,
    /// Of these, ignored.
    pub ignored: i64,
    /// Webhooks whose outcome and recipient contradict each other.
    pub unmatched_webhooks: i64,
    /// Messages whose status or counters differ from a recount of their recipients.
    pub miscounted_messages: i64,
    /// Messages whose newest version was never put into the outbox, as far back as the outbox is kept.
    pub unannounced_messages: i64,
    /// Outbox rows that wait for the broker.
    pub waiting_events: i64,
    /// Events that the stream refuses for good. `ops audit` names them, `ops outbox retry` puts them back.
    pub refused_events: i64,
}

impl Audit {
    /// Adds the webhooks of another part.
    pub(in crate::store) fn add(&mut self, part: &Self) {
        self.accepted += part.accepted;
        self.applied += part.applied;
        self.duplicate += part.duplicate;
        self.stale += part.stale;
        self.parked += part.parked;
        self.received += part.received;
        self.ignored += part.ignored;
        self.unmatched_webhooks += part.unmatched_webhooks;
    }

    /// Whether everything adds up.
    pub fn is_sound(&self) -> bool {
        self.accepted
            == self.applied + self.duplicate + self.stale + self.parked + self.received + self.ignored
            && self.unmatched_webhooks == 0
            && self.miscounted_messages == 0
            && self.unannounced_messages == 0
            && self.refused_events == 0
    }
}

/// Something in the database that does not add up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Discrepancy {
    /// A webhook whose outcome and recipient contradict each other, by its event id.
    UnmatchedWebhook(String),
    /// A message whose status or counters differ from a recount of its recipients.
    MiscountedMessage(Uuid),
    /// A message whose newest version was never put into the outbox.
    UnannouncedMessage(Uuid),
}

/// An event that the outbox says is in the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnnouncedEvent {
    /// The event.
    pub event_id: Uuid,
    /// Its message.
    pub message_id: Uuid,
    /// Its sequence in the stream.
    pub stream_seq: i64,
}
