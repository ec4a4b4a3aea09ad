//! The outbox, and the right to relay it.

use std::time::Duration;

use serde::Serialize;
use uuid::Uuid;

/// An outbox row that waits to be announced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxRow {
    /// From the database's sequence, taken while the message row is locked.
    pub position: i64,
    /// The event's id; `Nats-Msg-Id`.
    pub event_id: Uuid,
    /// The message.
    pub message_id: Uuid,
    /// Progress that a newer row of the same message makes superfluous.
    pub progress: bool,
    /// `church.<id>.sent` or `church.<id>.status`.
    pub subject: String,
    /// The event as JSON.
    pub payload: String,
}

/// A row that is left out of the stream, and the newer row of its message that takes over what it named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Superseded {
    /// The rows left out.
    pub positions: Vec<i64>,
    /// The row that takes over.
    pub heir: i64,
    /// The heir's new payload.
    pub payload: String,
}

/// The last announced row: what the relay fences with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Announced {
    /// Its place in the outbox.
    pub position: i64,
    /// Its event's id.
    pub event_id: Uuid,
    /// Its sequence in the stream.
    pub stream_seq: i64,
}

/// How the outbox stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutboxState {
    /// Rows that wait to be announced; all of them.
    pub waiting: i64,
    /// How long the oldest of them waits.
    pub oldest: Duration,
    /// Events that the stream refuses for good.
    pub refused: i64,
    /// Whether a process holds the relay's lease.
    pub led: bool,
}

/// An event that the stream refuses for good, kept for operators.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RefusedEvent {
    /// The event's id.
    pub event_id: Uuid,
    /// Its message.
    pub message_id: Uuid,
    /// Where it would have been announced.
    pub subject: String,
    /// What the stream said.
    pub reason: String,
}

/// How long a lease is valid after it was taken or renewed.
pub const LEASE: Duration = Duration::from_secs(10);
/// The same in milliseconds.
pub(in crate::store) const LEASE_MS: i64 = LEASE.as_millis() as i64;
/// How long a process that stands by is believed that its broker takes events, in milliseconds.
pub(in crate::store) const OFFER_MS: i64 = 5_000;

/// The number of a lease. It rises with each new holder, so it tells whose work is still wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Term(pub(in crate::store) i64);

/// The lease as it stands in the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaseState {
    /// Whether a process holds it now.
    pub held: bool,
    /// Whether a process that stands by said in the last 5 s that its broker takes events.
    pub standby_ready: bool,
}
