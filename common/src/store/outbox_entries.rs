//! Writes rows of the outbox.

use time::OffsetDateTime;
use uuid::Uuid;

use super::bulk::{self, Bulk};
use super::failures::StoreError;
use super::records::Superseded;
use super::rows::json;
use super::session::Session;
use super::sql::{Sql, Statement, sql};
use crate::event::ChurchEvent;
use crate::inbound::InboundEvent;
use crate::revocation::Revocation;
use crate::trace_context::TraceParent;

/// An event on its way into the outbox.
#[derive(Debug, Clone)]
pub(super) struct OutboxEntry {
    pub(super) event_id: Uuid,
    pub(super) message_id: Uuid,
    pub(super) version: i64,
    pub(super) progress: bool,
    pub(super) subject: String,
    pub(super) payload: String,
    pub(super) created_at: OffsetDateTime,
    pub(super) trace_parent: Option<TraceParent>,
}

impl OutboxEntry {
    /// The row of an event. With `progress`, a newer row of the message may replace it.
    pub(super) fn new(event: &ChurchEvent, progress: bool) -> Result<Self, StoreError> {
        Ok(Self {
            event_id: event.id,
            message_id: event.message_id,
            version: event.version,
            progress,
            subject: event.subject(),
            payload: json(event)?,
            created_at: event.timestamp,
            trace_parent: None,
        })
    }

    /// The row of the news of a text. It takes the message's place.
    pub(super) fn of_inbound(event: &InboundEvent) -> Result<Self, StoreError> {
        Ok(Self {
            event_id: event.id,
            message_id: event.inbound_id,
            version: 0,
            progress: false,
            subject: event.subject(),
            payload: json(event)?,
            created_at: event.timestamp,
            trace_parent: None,
        })
    }

    /// The row of a revocation, which belongs to no message.
    pub(super) fn of_revocation(revocation: &Revocation) -> Result<Self, StoreError> {
        Ok(Self {
            event_id: revocation.id,
            message_id: revocation.id,
            version: 0,
            progress: false,
            subject: revocation.subject(),
            payload: json(revocation)?,
            created_at: revocation.timestamp,
            trace_parent: None,
        })
    }

    /// The same row, with the trace of what made it.
    pub(super) fn traced(self, trace_parent: Option<TraceParent>) -> Self {
        Self { trace_parent, ..self }
    }
}

/// Appends events to the outbox. Their messages are locked, so that positions and versions have the same order.
pub(super) async fn append<S: Session>(tx: &mut S, entries: &[OutboxEntry]) -> Result<(), StoreError> {
    tx.execute_all(Vec::from_iter(appending(entries))).await
}

/// The statement that appends events to the outbox, if there are any.
pub(super) fn appending(entries: &[OutboxEntry]) -> Option<Statement<'static>> {
    const APPEND: Sql = sql!(
        "insert into outbox (event_id, message_id, version, progress, subject, payload, created_at, trace_parent)
         select event_id, message_id, version, progress, subject, payload, created_at, trace_parent from"
    );
    let new = bulk::rows(entries)
        .id("event_id", |entry| entry.event_id)
        .id("message_id", |entry| entry.message_id)
        .number("version", |entry| entry.version)
        .flag("progress", |entry| entry.progress)
        .text("subject", |entry| &entry.subject)
        .text("payload", |entry| &entry.payload)
        .time("created_at", |entry| entry.created_at)
        .opt_text("trace_parent", |entry| entry.trace_parent.as_ref().map(|trace| trace.as_str().to_owned()))
        .build();
    (new.rows > 0).then(|| Statement::from(APPEND).push_rows(new).push(sql!(" order by place")))
}

/// The positions of superseded rows.
pub(super) fn positions(rows: &[Superseded]) -> Vec<i64> {
    rows.iter().flat_map(|row| row.positions.iter().copied()).collect()
}

/// The heirs with their new payloads.
pub(super) fn heirs(rows: &[Superseded]) -> Bulk {
    bulk::rows(rows).number("position", |row| row.heir).text("payload", |row| &row.payload).build()
}

/// Announced rows with their sequences in the stream.
pub(super) fn announced(rows: &[(i64, i64)]) -> Bulk {
    bulk::rows(rows).number("position", |row| row.0).number("stream_seq", |row| row.1).build()
}
