//! The outbox as the relay sees it. Every change of what the relay has done compares its term: a process that was
//! stopped for a while and wakes changes nothing.

use std::time::Duration;

use serde::Serialize;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{Announced, Backend, OutboxRow, Store, StoreError, Superseded, Term};

/// Rows that are changed at once where it may be many, so that nobody waits long for them.
const PORTION: u32 = 1_000;

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

impl Store {
    /// How the outbox stands, by the database's clock.
    ///
    /// # Errors
    /// The database is away.
    pub async fn outbox_state(&self) -> Result<OutboxState, StoreError> {
        dispatch!(self, db => db.outbox_state().await)
    }

    /// The oldest rows of the outbox that are neither announced nor superseded, in order.
    ///
    /// # Errors
    /// The database is away.
    pub async fn waiting_events(&self, limit: u32) -> Result<Vec<OutboxRow>, StoreError> {
        dispatch!(self, db => db.waiting_events(limit).await)
    }

    /// The row that was announced last, if any is kept.
    ///
    /// # Errors
    /// The database is away.
    pub async fn last_announced(&self) -> Result<Option<Announced>, StoreError> {
        dispatch!(self, db => db.last_announced().await)
    }

    /// The announced row of an event, if it is kept.
    ///
    /// # Errors
    /// The database is away.
    pub async fn announced(&self, event_id: Uuid) -> Result<Option<Announced>, StoreError> {
        dispatch!(self, db => db.announced(event_id).await)
    }

    /// Marks rows as left out of the stream and gives their heirs what they named, all or nothing.
    ///
    /// # Errors
    /// The database is away, or the term is over.
    pub async fn supersede(&self, term: Term, rows: &[Superseded]) -> Result<(), StoreError> {
        if rows.is_empty() {
            return Ok(());
        }
        dispatch!(self, db => db.supersede(term, rows).await)
    }

    /// Marks rows as announced: pairs of position and sequence in the stream.
    ///
    /// # Errors
    /// The database is away, or the term is over.
    pub async fn mark_announced(
        &self,
        term: Term,
        rows: &[(i64, i64)],
        now: OffsetDateTime,
    ) -> Result<(), StoreError> {
        if rows.is_empty() {
            return Ok(());
        }
        dispatch!(self, db => db.mark_announced(term, rows, now).await)
    }

    /// Forgets that rows above a sequence of the stream were announced, because the stream lost them; they are
    /// announced again. Returns how many. Broken off in its middle, it has done the newest part and can be repeated.
    ///
    /// # Errors
    /// The database is away, or the term is over.
    pub async fn unannounce_above(&self, term: Term, stream_seq: i64) -> Result<u64, StoreError> {
        let mut all = 0;
        loop {
            let rows = dispatch!(self, db => db.unannounce_above(term, stream_seq, PORTION).await)?;
            all += rows;
            if rows < u64::from(PORTION) {
                return Ok(all);
            }
        }
    }

    /// Takes an event that the stream refuses for good out of the outbox, and keeps it with the reason.
    ///
    /// # Errors
    /// The database is away, or the term is over.
    pub async fn set_refused(&self, term: Term, position: i64, reason: &str) -> Result<(), StoreError> {
        dispatch!(self, db => db.set_refused(term, position, reason).await)
    }

    /// The events that the stream refuses for good, oldest first.
    ///
    /// # Errors
    /// The database is away.
    pub async fn refused_events(&self, limit: u32) -> Result<Vec<RefusedEvent>, StoreError> {
        dispatch!(self, db => db.refused_events(limit).await)
    }

    /// Puts refused events back into the outbox, all of them or one. Returns how many.
    ///
    /// # Errors
    /// The database is away.
    pub async fn retry_refused(&self, event_id: Option<Uuid>) -> Result<u64, StoreError> {
        let rows = dispatch!(self, db => db.retry_refused(event_id).await)?;
        self.wake_relay(rows > 0);
        Ok(rows)
    }
}
