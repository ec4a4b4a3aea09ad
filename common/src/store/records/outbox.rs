//! The outbox, and the right to relay it.

use std::time::Duration;

use serde::Serialize;
use uuid::Uuid;

use crate::trace_context::TraceParent;

/// An outbox row that waits to be announced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxRow {
    /// Its place, taken from the database's sequence while the message row is locked.
    pub position: i64,
    /// The event's id; `Nats-Msg-Id`.
    pub event_id: Uuid,
    /// The message.
    pub message_id: Uuid,
    /// Whether a newer row of the same message may replace it: only counters changed.
    pub progress: bool,
    /// `church.<id>.sent` or `church.<id>.status`.
    pub subject: String,
    /// The event as JSON.
    pub payload: String,
    /// The trace of what made it.
    pub trace_parent: Option<TraceParent>,
}

/// Rows left out of the stream, and the newer row of their message that takes over the recipients they named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Superseded {
    /// The rows left out.
    pub positions: Vec<i64>,
    /// The row that takes over.
    pub heir: i64,
    /// The heir's new payload.
    pub payload: String,
}

/// An announced row. The relay fences with the last one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Announced {
    /// Its place in the outbox.
    pub position: i64,
    /// Its event's id.
    pub event_id: Uuid,
    /// Its sequence in the stream.
    pub stream_seq: i64,
}

/// The state of the outbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutboxState {
    /// Number of rows that wait to be announced.
    pub waiting: i64,
    /// How long the oldest row has waited.
    pub oldest: Duration,
    /// Number of events that the stream refuses for good.
    pub refused: i64,
    /// Whether a process holds the relay's lease.
    pub led: bool,
}

/// An event that the stream refuses for good. Operators decide what becomes of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RefusedEvent {
    /// The event's id.
    pub event_id: Uuid,
    /// Its message.
    pub message_id: Uuid,
    /// Where it would have been announced.
    pub subject: String,
    /// The stream's answer.
    pub reason: String,
}

/// How long a lease is valid after it was taken or renewed.
pub const LEASE: Duration = Duration::from_secs(10);
/// The same in milliseconds.
pub(in crate::store) const LEASE_MS: i64 = LEASE.as_millis() as i64;
/// How long the word of a standby process, that its broker takes events, is valid, in milliseconds.
pub(in crate::store) const OFFER_MS: i64 = 5_000;

/// The number of a lease. It rises with each new holder; work under an older one is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Term(pub(in crate::store) i64);

/// The lease as it stands in the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaseState {
    /// Whether a process holds it now.
    pub held: bool,
    /// Whether a standby process reported in the last 5 s that its broker takes events.
    pub standby_ready: bool,
}
