//! What changes the record. The same for both databases: they read and lock rows, [`Book`] decides, they write.
//!
//! Locks are taken in one order everywhere: messages by id, then recipients by id.

use std::collections::{BTreeMap, HashSet};

use time::OffsetDateTime;
use tracing::error;
use uuid::Uuid;

use super::book::Book;
use super::{DeliveryReport, Failure, Outcome, Overdue, StoreError, Webhook, WebhookContent};
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

    /// Begins one that only reads, beside whoever writes.
    fn begin_reading(&self) -> impl Future<Output = Result<Self::Tx, StoreError>> + Send;
}

/// One write transaction. Dropped without [`Ledger::commit`] it changes nothing.
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
    async fn lock_messages(&mut self, ids: &[Uuid]) -> Result<Vec<MessageRow>, StoreError>;
    /// Locks recipients, in the order of their ids, and reads them.
    async fn lock_recipients(&mut self, ids: &[Uuid]) -> Result<Vec<RecipientRow>, StoreError>;
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
    /// Parked webhooks in the order of their event ids, after the one given, unlocked.
    async fn parked_after(&mut self, after: &str, limit: u32) -> Result<Vec<ParkedRow>, StoreError>;
    /// Ends the waiting of parked webhooks.
    async fn settle_parked(&mut self, settled: &[Settled]) -> Result<(), StoreError>;
    /// Makes it all true.
    async fn commit(&mut self) -> Result<(), StoreError>;
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

impl WebhookRow<'_> {
    /// The provider id to look for while it is parked.
    pub(super) fn provider_id(&self) -> Option<&str> {
        delivery(self.webhook).map(|report| report.provider_id.as_str())
    }

    /// What to tell the recipient once it is found, as JSON.
    pub(super) fn report(&self) -> Option<String> {
        delivery(self.webhook)
            .filter(|_| self.outcome == Outcome::Parked)
            .and_then(|report| json(report).ok())
    }
}

/// A webhook that waits for its recipient.
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

/// Closes or fails what waits too long. Returns how many recipients, and the events put into the outbox.
pub(super) async fn close_overdue<L: Ledger>(
    ledger: &mut L,
    overdue: &Overdue,
    now: OffsetDateTime,
) -> Result<(usize, usize), StoreError> {
    let ids: Vec<Uuid> = ledger.find_overdue(overdue).await?.iter().map(|row| row.id).collect();
    let mut book = Book::open(ledger, &[], &ids).await?;
    let closed = ids.iter().filter(|id| book.end_waiting(**id, overdue, now)).count();
    let events = book.close(ledger).await?;
    ledger.commit().await?;
    Ok((closed, events))
}

/// Records a batch; splits it as long as the database refuses something in it.
pub(super) async fn record_webhooks<D: Database>(
    database: &D,
    batch: &[Webhook],
) -> Result<(Vec<Outcome>, usize), StoreError> {
    let mut outcomes = Vec::with_capacity(batch.len());
    let mut events = 0;
    // The parts still to be recorded, the next one last, so that outcomes come in the order of the batch.
    let mut parts = vec![batch];
    while let Some(part) = parts.pop() {
        let recorded = record_part(&mut database.begin().await?, part).await;
        let (part_outcomes, part_events) = match (recorded, part) {
            (Ok(recorded), _) => recorded,
            (Err(error), _) if error.is_temporary() => return Err(error),
            (Err(error), [poisonous]) => {
                record_refused(&mut database.begin().await?, poisonous, &error).await?
            }
            (Err(_), _) => {
                let (first, second) = part.split_at(part.len() / 2);
                parts.extend([second, first]);
                continue;
            }
        };
        outcomes.extend(part_outcomes);
        events += part_events;
    }
    // A recipient that was committed while the batch parked its webhook is found now, not at the next sweep.
    let parked: Vec<&str> = batch
        .iter()
        .zip(&outcomes)
        .filter(|(_, outcome)| **outcome == Outcome::Parked)
        .map(|(webhook, _)| webhook.event_id.as_str())
        .collect();
    if !parked.is_empty() {
        let mut ledger = database.begin().await?;
        let rows = ledger.parked_among(&parked).await?;
        events += claim(&mut ledger, rows).await?.1;
    }
    Ok((outcomes, events))
}

async fn record_part<L: Ledger>(
    ledger: &mut L,
    batch: &[Webhook],
) -> Result<(Vec<Outcome>, usize), StoreError> {
    let event_ids: Vec<&str> = batch.iter().map(|webhook| webhook.event_id.as_str()).collect();
    let known = ledger.known_events(&event_ids).await?;
    let reports = || batch.iter().filter_map(|webhook| delivery(webhook));
    let provider_ids: Vec<&str> = reports().map(|report| report.provider_id.as_str()).collect();
    let hints: Vec<Uuid> = reports().filter_map(|report| report.recipient_hint).collect();
    let mut book = Book::open(ledger, &provider_ids, &hints).await?;

    let mut rows: BTreeMap<&str, WebhookRow<'_>> = BTreeMap::new();
    let mut outcomes = Vec::with_capacity(batch.len());
    for webhook in batch {
        let repeated = known.contains(&webhook.event_id);
        let row = match rows.get_mut(webhook.event_id.as_str()) {
            Some(row) => {
                row.deliveries += 1;
                outcomes.push(Outcome::Duplicate);
                continue;
            }
            // The database counts it up; what it reports was applied or parked when it first came.
            None if repeated => WebhookRow {
                webhook,
                deliveries: 1,
                outcome: Outcome::Duplicate,
                reason: None,
                recipient_id: None,
            },
            None => book.read(webhook),
        };
        outcomes.push(row.outcome);
        rows.insert(&webhook.event_id, row);
    }
    let rows: Vec<WebhookRow<'_>> = rows.into_values().collect();
    ledger.save_webhooks(&rows).await?;
    let events = book.close(ledger).await?;
    ledger.commit().await?;
    Ok((outcomes, events))
}

fn delivery(webhook: &Webhook) -> Option<&DeliveryReport> {
    match &webhook.content {
        WebhookContent::Delivery(report) => Some(report),
        WebhookContent::Ignored { .. } => None,
    }
}

/// Keeps what the database refuses to record as what it is: its body, under an id made from its id.
async fn record_refused<L: Ledger>(
    ledger: &mut L,
    webhook: &Webhook,
    refusal: &StoreError,
) -> Result<(Vec<Outcome>, usize), StoreError> {
    error!(
        error = refusal as &dyn std::error::Error,
        "the database refuses a webhook; it is kept as ignored"
    );
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, webhook.event_id.as_bytes());
    let id: String = digest.as_ref().iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    let reason = "the database refused it".to_owned();
    let kept = Webhook {
        event_id: format!("refused-{id}"),
        event_type: "refused".into(),
        occurred_at: None,
        content: WebhookContent::Ignored { reason },
        ..webhook.clone()
    };
    record_part(ledger, &[kept]).await
}

/// Tries a page of the parked webhooks again: how many found their recipient, where to go on, the events.
pub(super) async fn sweep_parked<L: Ledger>(
    ledger: &mut L,
    after: Option<&str>,
    limit: u32,
) -> Result<(usize, Option<String>, usize), StoreError> {
    let rows = ledger.parked_after(after.unwrap_or_default(), limit).await?;
    let full = rows.len() >= limit as usize;
    let next = rows.last().map(|row| row.event_id.clone()).filter(|_| full);
    let (claimed, events) = claim(ledger, rows).await?;
    Ok((claimed, next, events))
}

async fn claim<L: Ledger>(ledger: &mut L, parked: Vec<ParkedRow>) -> Result<(usize, usize), StoreError> {
    let provider_ids: Vec<&str> = parked.iter().map(|row| row.report.provider_id.as_str()).collect();
    let hints: Vec<Uuid> = parked.iter().filter_map(|row| row.report.recipient_hint).collect();
    let mut book = Book::open(ledger, &provider_ids, &hints).await?;
    let settled = settle(ledger, &mut book, parked).await?;
    if settled == 0 {
        return Ok((0, 0));
    }
    let events = book.close(ledger).await?;
    ledger.commit().await?;
    Ok((settled, events))
}

/// Applies those webhooks that are still parked, now that their recipients are locked. Returns how many found theirs.
pub(super) async fn settle<L: Ledger>(
    ledger: &mut L,
    book: &mut Book,
    parked: Vec<ParkedRow>,
) -> Result<usize, StoreError> {
    let found: Vec<&str> = parked
        .iter()
        .filter(|row| book.find(&row.report).is_some())
        .map(|row| row.event_id.as_str())
        .collect();
    if found.is_empty() {
        return Ok(0);
    }
    let apply = |row: ParkedRow| {
        let (recipient_id, outcome) = book.apply(&row.report, row.occurred_at)?;
        Some(Settled { event_id: row.event_id, outcome, recipient_id })
    };
    let settled: Vec<Settled> = ledger.parked_among(&found).await?.into_iter().filter_map(apply).collect();
    ledger.settle_parked(&settled).await?;
    Ok(settled.len())
}
