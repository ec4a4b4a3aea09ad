//! The outbox as the relay sees it. Each change by the relay compares its term, so that a process that was stopped and
//! resumes changes nothing.

use std::time::Duration;

use time::OffsetDateTime;
use uuid::Uuid;

use super::columns::{Columns, Read};
use super::database::Database;
use super::failures::StoreError;
use super::handle::{Store, dispatch};
use super::records::{Announced, LEASE_MS, OutboxRow, OutboxState, RefusedEvent, Superseded, Term};
use super::session::{Session as _, only};
use super::sql::{Sql, sql};
use crate::trace_context::TraceParent;

/// Rows changed by one statement where it may be many, so that it holds its locks for a short time.
const BATCH_ROWS: u32 = 1_000;

/// The oldest waiting events.
pub(super) const WAITING: Sql = sql!(
    "select position, event_id, message_id, progress, subject, payload, trace_parent from outbox
     where stream_seq is null and superseded_at is null order by position limit $1"
);
/// A lease that ends later than any lease can was written before the clock was set back.
pub(super) const STATE: Sql = Sql {
    postgres: "select count(*) as waiting,
        coalesce((select (extract(epoch from clock_timestamp() - created_at) * 1000)::bigint from outbox
                  where stream_seq is null and superseded_at is null order by position limit 1), 0) as oldest_ms,
        (select count(*) from refused_events) as refused,
        exists (select 1 from relay_lease where expires_at between clock_timestamp()
                and clock_timestamp() + 2 * $1 * interval '1 millisecond') as led
        from outbox where stream_seq is null and superseded_at is null",
    sqlite: "select count(*) as waiting,
        coalesce((select cast(unixepoch('subsec') * 1000 as integer) - created_at from outbox
                  where stream_seq is null and superseded_at is null order by position limit 1), 0) as oldest_ms,
        (select count(*) from refused_events) as refused,
        exists (select 1 from relay_lease where expires_at between unixepoch('subsec') * 1000
                and unixepoch('subsec') * 1000 + 2 * $1) as led
        from outbox where stream_seq is null and superseded_at is null",
};

impl Store {
    /// Returns the state of the outbox, by the database's clock.
    ///
    /// # Errors
    /// The database is away.
    pub async fn outbox_state(&self) -> Result<OutboxState, StoreError> {
        only(dispatch!(self, db => db.fetch(STATE.bind(LEASE_MS)).await)?)
    }

    /// Reads the oldest rows that are neither announced nor superseded, in order.
    ///
    /// # Errors
    /// The database is away.
    pub async fn waiting_events(&self, limit: u32) -> Result<Vec<OutboxRow>, StoreError> {
        dispatch!(self, db => db.fetch(WAITING.bind(limit)).await)
    }

    /// Finds the row that was announced last, if it is kept.
    ///
    /// # Errors
    /// The database is away.
    pub async fn last_announced(&self) -> Result<Option<Announced>, StoreError> {
        const LAST: Sql = sql!(
            "select position, event_id, stream_seq from outbox
                                where stream_seq is not null order by stream_seq desc limit 1"
        );
        Ok(dispatch!(self, db => db.fetch(LAST.into()).await)?.pop())
    }

    /// Finds the announced row of an event, if it is kept.
    ///
    /// # Errors
    /// The database is away.
    pub async fn announced(&self, event_id: Uuid) -> Result<Option<Announced>, StoreError> {
        const FIND: Sql = sql!(
            "select position, event_id, stream_seq from outbox
                                where event_id = $1 and stream_seq is not null"
        );
        Ok(dispatch!(self, db => db.fetch(FIND.bind(event_id)).await)?.pop())
    }

    /// Marks rows as superseded and gives their heirs the recipients they named, in one transaction.
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

    /// Marks rows above a sequence of the stream as not announced, because the stream lost them. Returns how many.
    /// Works in batches from the newest row on and can be repeated.
    ///
    /// # Errors
    /// The database is away, or the term is over.
    pub async fn unannounce_above(&self, term: Term, stream_seq: i64) -> Result<u64, StoreError> {
        let mut all = 0;
        loop {
            let rows = dispatch!(self, db => db.unannounce_above(term, stream_seq, BATCH_ROWS).await)?;
            all += rows;
            if rows < u64::from(BATCH_ROWS) {
                return Ok(all);
            }
        }
    }

    /// Moves an event that the stream refuses for good from the outbox to the refused events, with the reason.
    ///
    /// # Errors
    /// The database is away, or the term is over.
    pub async fn set_refused(&self, term: Term, position: i64, reason: &str) -> Result<(), StoreError> {
        dispatch!(self, db => db.set_refused(term, position, reason).await)
    }

    /// Lists the events that the stream refuses for good, oldest first.
    ///
    /// # Errors
    /// The database is away.
    pub async fn refused_events(&self, limit: u32) -> Result<Vec<RefusedEvent>, StoreError> {
        const FIND: Sql = sql!(
            "select event_id, message_id, subject, reason from refused_events
                                order by refused_at, event_id limit $1"
        );
        dispatch!(self, db => db.fetch(FIND.bind(limit)).await)
    }

    /// Moves refused events back into the outbox, all of them or one. Returns how many.
    ///
    /// # Errors
    /// The database is away.
    pub async fn retry_refused(&self, event_id: Option<Uuid>) -> Result<u64, StoreError> {
        let rows = dispatch!(self, db => retry_refused(db, event_id).await)?;
        self.wake_relay(rows > 0);
        Ok(rows)
    }
}

async fn retry_refused<D: Database>(db: &D, event_id: Option<Uuid>) -> Result<u64, StoreError> {
    const PUT_BACK: Sql = sql!(
        "insert into outbox (event_id, message_id, version, progress, subject, payload, created_at, trace_parent)
         select event_id, message_id, version, progress, subject, payload, created_at, trace_parent
         from refused_events where $1 is null or event_id = $1 order by created_at, version"[lock]
    );
    // An event that was refused meanwhile is not back yet, and stays.
    const TAKE_OUT: Sql = sql!("delete from refused_events where event_id in (select event_id from outbox)");
    let mut tx = db.begin().await?;
    let rows = tx.execute(PUT_BACK.bind(event_id)).await?;
    tx.execute(TAKE_OUT.into()).await?;
    tx.commit().await?;
    Ok(rows)
}

impl Read for OutboxRow {
    fn read(row: &impl Columns) -> Result<Self, StoreError> {
        Ok(Self {
            position: row.number("position")?,
            event_id: row.id("event_id")?,
            message_id: row.id("message_id")?,
            progress: row.flag("progress")?,
            subject: row.text("subject")?,
            payload: row.text("payload")?,
            trace_parent: row.opt_text("trace_parent")?.and_then(|text| TraceParent::parse(&text)),
        })
    }
}

impl Read for Announced {
    fn read(row: &impl Columns) -> Result<Self, StoreError> {
        Ok(Self {
            position: row.number("position")?,
            event_id: row.id("event_id")?,
            stream_seq: row.number("stream_seq")?,
        })
    }
}

impl Read for OutboxState {
    fn read(row: &impl Columns) -> Result<Self, StoreError> {
        // A row from a machine whose clock is ahead counts as new.
        let oldest = u64::try_from(row.number("oldest_ms")?).unwrap_or(0);
        Ok(Self {
            waiting: row.number("waiting")?,
            oldest: Duration::from_millis(oldest),
            refused: row.number("refused")?,
            led: row.flag("led")?,
        })
    }
}

impl Read for RefusedEvent {
    fn read(row: &impl Columns) -> Result<Self, StoreError> {
        Ok(Self {
            event_id: row.id("event_id")?,
            message_id: row.id("message_id")?,
            subject: row.text("subject")?,
            reason: row.text("reason")?,
        })
    }
}
