//! The result of an audit.

use serde::Serialize;

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
