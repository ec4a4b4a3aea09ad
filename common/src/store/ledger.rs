//! What a write transaction reads, locks and writes; the same for both databases.
//!
//! Locks are taken in one order everywhere: messages by id, then recipients by id, then webhooks by event id.

use std::collections::HashSet;

use time::OffsetDateTime;
use uuid::Uuid;

use super::{DeliveryReport, Failure, Outcome, Overdue, StoreError, Webhook};
use crate::event::ChurchEvent;
use crate::revocation::Revocation;
use crate::status::{MessageStatus, RecipientState, Tally};
use crate::subject::ChurchId;

/// Where write transactions come from.
pub(super) trait Database {
    /// A transaction that may write.
    type Tx: Ledger;

    /// Begins one.
    fn begin(&self) -> impl Future<Output = Result<Self::Tx, StoreError>> + Send;
    /// Parked webhooks in the order of their event ids, after the one given.
    fn parked_after(
        &self,
        after: &str,
        limit: u32,
    ) -> impl Future<Output = Result<Vec<ParkedRow>, StoreError>> + Send;
    /// Replaces every connection before it is used again, and with it the statements prepared on it.
    fn renew(&self);
    /// Begins one that only reads, beside the one that writes. [`leave`] ends it.
    fn begin_reading(&self) -> impl Future<Output = Result<Self::Tx, StoreError>> + Send;
}

/// What to do about rows that another transaction has locked. SQLite has one writer and no such rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Locking {
    /// Wait for them, as long as the connection's lock time-out.
    Wait,
    /// Leave them out.
    SkipLocked,
}

impl Locking {
    /// The statement for it.
    pub(super) fn choose(self, wait: &'static str, skip: &'static str) -> &'static str {
        match self {
            Self::Wait => wait,
            Self::SkipLocked => skip,
        }
    }
}

/// One write transaction. Dropped without [`Ledger::commit`] it changes nothing, and costs its connection.
pub(super) trait Ledger: Send {
    /// Which of these events are recorded.
    async fn known_events(&mut self, event_ids: &[&str]) -> Result<HashSet<String>, StoreError>;
    /// The recipients that have one of these provider ids or ids, unlocked.
    async fn find_recipients(
        &mut self,
        provider_ids: &[&str],
        ids: &[Uuid],
    ) -> Result<Vec<RecipientRow>, StoreError>;
    /// Locks messages, in the order of their ids, and reads them.
    async fn lock_messages(&mut self, ids: &[Uuid], locking: Locking) -> Result<Vec<MessageRow>, StoreError>;
    /// Locks recipients, in the order of their ids, and reads them.
    async fn lock_recipients(
        &mut self,
        ids: &[Uuid],
        locking: Locking,
    ) -> Result<Vec<RecipientRow>, StoreError>;
    /// Recipients that wait too long for a receipt, unlocked.
    async fn find_overdue(&mut self, overdue: &Overdue) -> Result<Vec<RecipientRow>, StoreError>;
    /// Writes recipients back.
    async fn save_recipients(&mut self, rows: &[RecipientRow]) -> Result<(), StoreError>;
    /// Writes messages back.
    async fn save_messages(&mut self, rows: &[MessageRow]) -> Result<(), StoreError>;
    /// Takes a position for each event and puts it into the outbox. The messages are locked.
    async fn append_outbox(&mut self, entries: &[OutboxEntry]) -> Result<(), StoreError>;
    /// Records webhooks; one that another transaction recorded meanwhile only counts its deliveries up.
    async fn save_webhooks(&mut self, rows: &[WebhookRow<'_>]) -> Result<(), StoreError>;
    /// Parked webhooks that wait for one of these provider ids, unlocked.
    async fn parked_for(&mut self, provider_ids: &[&str]) -> Result<Vec<ParkedRow>, StoreError>;
    /// Those of these webhooks that are parked, locked. Webhooks are locked after messages and recipients.
    async fn parked_among(&mut self, event_ids: &[&str]) -> Result<Vec<ParkedRow>, StoreError>;
    /// Ends the waiting of parked webhooks.
    async fn settle_parked(&mut self, settled: &[Settled]) -> Result<(), StoreError>;
    /// Makes it all true.
    async fn commit(&mut self) -> Result<(), StoreError>;
    /// Takes it all back.
    async fn roll_back(&mut self) -> Result<(), StoreError>;
}

/// Ends a transaction as what was done in it ended: commits it, or takes it back.
pub(super) async fn end<L: Ledger, T>(mut ledger: L, done: Result<T, StoreError>) -> Result<T, StoreError> {
    match done {
        Ok(done) => ledger.commit().await.map(|()| done),
        Err(error) => {
            // If even that fails, the connection is closed, which takes it back as well.
            let _ = ledger.roll_back().await;
            Err(error)
        }
    }
}

/// Ends a transaction that changed nothing.
pub(super) async fn leave<L: Ledger, T>(mut ledger: L, done: Result<T, StoreError>) -> Result<T, StoreError> {
    // If that fails, the connection is closed; what was read was read.
    let _ = ledger.roll_back().await;
    done
}

/// A recipient as far as reports concern it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct RecipientRow {
    pub(super) id: Uuid,
    pub(super) message_id: Uuid,
    pub(super) phone: String,
    pub(super) state: RecipientState,
    pub(super) provider_id: Option<String>,
    pub(super) due_at: OffsetDateTime,
    pub(super) attempted_at: Option<OffsetDateTime>,
    pub(super) claim_id: Option<Uuid>,
    pub(super) sender: String,
    pub(super) ask_at: Option<OffsetDateTime>,
    pub(super) tried: i32,
    pub(super) failure: Option<Failure>,
    pub(super) delivered_at: Option<OffsetDateTime>,
    pub(super) failed_at: Option<OffsetDateTime>,
}

/// A message as far as reports concern it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct MessageRow {
    pub(super) id: Uuid,
    pub(super) church_id: ChurchId,
    pub(super) author_id: String,
    pub(super) conversation_id: Option<String>,
    pub(super) status: MessageStatus,
    pub(super) version: i64,
    pub(super) tally: Tally,
    pub(super) failure_reason: Option<String>,
    pub(super) sent_at: Option<OffsetDateTime>,
    pub(super) updated_at: OffsetDateTime,
}

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
}

impl OutboxEntry {
    /// An event's row; `progress` if a newer row makes it superfluous.
    pub(super) fn new(event: &ChurchEvent, progress: bool) -> Result<Self, StoreError> {
        Ok(Self {
            event_id: event.id,
            message_id: event.message_id,
            version: event.version,
            progress,
            subject: event.subject(),
            payload: json(event)?,
            created_at: event.timestamp,
        })
    }

    /// A revocation's row. It is of no message.
    pub(super) fn of_revocation(revocation: &Revocation) -> Result<Self, StoreError> {
        Ok(Self {
            event_id: revocation.id,
            message_id: revocation.id,
            version: 0,
            progress: false,
            subject: revocation.subject(),
            payload: json(revocation)?,
            created_at: revocation.timestamp,
        })
    }
}

/// What goes into a column as JSON.
pub(super) fn json(value: &impl serde::Serialize) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|error| StoreError::Unreadable(error.to_string()))
}

/// A webhook on its way into the record.
pub(super) struct WebhookRow<'a> {
    pub(super) webhook: &'a Webhook,
    pub(super) deliveries: i64,
    pub(super) outcome: Outcome,
    pub(super) reason: Option<&'a str>,
    pub(super) recipient_id: Option<Uuid>,
}

impl<'a> WebhookRow<'a> {
    /// A webhook that came once and changes nothing.
    pub(super) fn new(webhook: &'a Webhook, outcome: Outcome) -> Self {
        Self { webhook, deliveries: 1, outcome, reason: None, recipient_id: None }
    }

    /// The provider id to look for while it is parked.
    pub(super) fn provider_id(&self) -> Option<&str> {
        self.webhook.delivery().map(|report| report.provider_id.as_str())
    }

    /// What to tell the recipient once it is found, as JSON.
    pub(super) fn report(&self) -> Option<String> {
        self.webhook
            .delivery()
            .filter(|_| self.outcome == Outcome::Parked)
            .and_then(|report| json(report).ok())
    }
}

/// A webhook that waits for its recipient.
#[derive(Debug, Clone)]
pub(super) struct ParkedRow {
    pub(super) event_id: String,
    pub(super) occurred_at: Option<OffsetDateTime>,
    pub(super) report: DeliveryReport,
}

/// A parked webhook that found its recipient.
pub(super) struct Settled {
    pub(super) event_id: String,
    pub(super) outcome: Outcome,
    pub(super) recipient_id: Uuid,
}
