//! How reports change the record. The same for both databases: they read and lock rows, this decides, they write.
//!
//! Locks are taken in one order everywhere: messages by id, then recipients by id.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use time::OffsetDateTime;
use tracing::{error, warn};
use uuid::Uuid;

use super::{
    Answer, DeliveryReport, Failure, Outcome, Overdue, PhoneReport, StoreError, Webhook, WebhookContent,
};
use crate::event::{ChangedRecipient, ChurchEvent, EventType, FORMAT};
use crate::revocation::Revocation;
use crate::status::{MessageStatus, Rank, RecipientState, Tally};
use crate::subject::ChurchId;

/// The failure code of a recipient of whom nobody ever heard again.
const UNRESOLVED: &str = "unresolved";

/// Where write transactions come from.
pub(super) trait Database {
    /// A transaction that may write.
    type Tx: Ledger;

    /// Begins one.
    fn begin(&self) -> impl Future<Output = Result<Self::Tx, StoreError>> + Send;
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
            payload: serde_json::to_string(event)
                .map_err(|error| StoreError::Unreadable(error.to_string()))?,
            created_at: event.timestamp,
        })
    }
}

impl OutboxEntry {
    /// A revocation's row. It is of no message.
    pub(super) fn of_revocation(revocation: &Revocation) -> Result<Self, StoreError> {
        Ok(Self {
            event_id: revocation.id,
            message_id: revocation.id,
            version: 0,
            progress: false,
            subject: revocation.subject(),
            payload: serde_json::to_string(revocation)
                .map_err(|error| StoreError::Unreadable(error.to_string()))?,
            created_at: revocation.timestamp,
        })
    }
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
        match &self.webhook.content {
            WebhookContent::Delivery(report) => Some(&report.provider_id),
            WebhookContent::Ignored { .. } => None,
        }
    }

    /// What to tell the recipient once it is found, as JSON.
    pub(super) fn report(&self) -> Option<String> {
        match (&self.webhook.content, self.outcome) {
            (WebhookContent::Delivery(report), Outcome::Parked) => serde_json::to_string(report).ok(),
            _ => None,
        }
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

/// Records what became of attempts. Returns the number of events put into the outbox.
pub(super) async fn record_answers<L: Ledger>(
    ledger: &mut L,
    answers: &[(Uuid, Answer)],
    now: OffsetDateTime,
) -> Result<usize, StoreError> {
    let ids: Vec<Uuid> = answers.iter().map(|(id, _)| *id).collect();
    let accepted: Vec<&str> = answers.iter().filter_map(|(_, answer)| accepted_id(answer)).collect();
    let parked = ledger.parked_for(&accepted).await?;
    let mut book = Book::open(ledger, &accepted, &ids).await?;
    for (id, answer) in answers {
        book.answer(*id, answer, now);
    }
    settle(ledger, &mut book, parked).await?;
    let events = book.close(ledger).await?;
    ledger.commit().await?;
    Ok(events)
}

fn accepted_id(answer: &Answer) -> Option<&str> {
    match answer {
        Answer::Accepted { provider_id } => Some(provider_id),
        _ => None,
    }
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
            (Err(error @ StoreError::Unavailable(_)), _) => return Err(error),
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
async fn settle<L: Ledger>(
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

/// The locked rows of one transaction, and what changes in them.
struct Book {
    messages: BTreeMap<Uuid, MessageRow>,
    recipients: BTreeMap<Uuid, RecipientRow>,
    by_provider_id: HashMap<String, Uuid>,
    /// The recipients as they were, for those that were changed.
    before: HashMap<Uuid, RecipientRow>,
    /// Messages whose own columns changed without a new version.
    touched: BTreeSet<Uuid>,
    occurred_at: HashMap<Uuid, OffsetDateTime>,
}

impl Book {
    /// Finds the recipients and locks them and their messages.
    async fn open<L: Ledger>(
        ledger: &mut L,
        provider_ids: &[&str],
        ids: &[Uuid],
    ) -> Result<Self, StoreError> {
        let found = ledger.find_recipients(provider_ids, ids).await?;
        let ids: BTreeSet<Uuid> = found.iter().map(|row| row.id).collect();
        let message_ids: BTreeSet<Uuid> = found.iter().map(|row| row.message_id).collect();
        let messages = ledger.lock_messages(&Vec::from_iter(message_ids)).await?;
        let recipients = ledger.lock_recipients(&Vec::from_iter(ids)).await?;
        let provider_id =
            |row: &RecipientRow| row.provider_id.clone().map(|provider_id| (provider_id, row.id));
        Ok(Self {
            by_provider_id: recipients.iter().filter_map(provider_id).collect(),
            messages: messages.into_iter().map(|row| (row.id, row)).collect(),
            recipients: recipients.into_iter().map(|row| (row.id, row)).collect(),
            before: HashMap::new(),
            touched: BTreeSet::new(),
            occurred_at: HashMap::new(),
        })
    }

    /// What a webhook does.
    fn read<'a>(&mut self, webhook: &'a Webhook) -> WebhookRow<'a> {
        let row = |outcome, reason, recipient_id| WebhookRow {
            webhook,
            deliveries: 1,
            outcome,
            reason,
            recipient_id,
        };
        match &webhook.content {
            WebhookContent::Ignored { reason } => row(Outcome::Ignored, Some(reason.as_str()), None),
            WebhookContent::Delivery(report) => match self.apply(report, webhook.occurred_at) {
                Some((recipient, outcome)) => row(outcome, None, Some(recipient)),
                None => row(Outcome::Parked, None, None),
            },
        }
    }

    /// Applies a report to its recipient; `None` if that is not known.
    fn apply(
        &mut self,
        report: &DeliveryReport,
        occurred_at: Option<OffsetDateTime>,
    ) -> Option<(Uuid, Outcome)> {
        let (id, phone) = self.find(report)?;
        self.learn_provider_id(id, &report.provider_id);
        let state = RecipientState { rank: Rank::from_i16(phone.rank)?, closed: phone.closed };
        let raised = self.raise(id, state, phone.failure.as_ref(), occurred_at);
        Some((id, if raised { Outcome::Applied } else { Outcome::Stale }))
    }

    /// By provider id; else by the recipient id in the signed URL, if the phone agrees.
    fn find<'r>(&self, report: &'r DeliveryReport) -> Option<(Uuid, &'r PhoneReport)> {
        let to = |phone: &str| report.to.iter().find(|to| to.phone == phone);
        if let Some(row) = self.by_provider_id.get(&report.provider_id).and_then(|id| self.recipients.get(id))
        {
            let only = report.to.first().filter(|_| report.to.len() == 1);
            return to(&row.phone).or(only).map(|phone| (row.id, phone));
        }
        let row = self.recipients.get(&report.recipient_hint?)?;
        if row.provider_id.is_some() {
            return None;
        }
        to(&row.phone).map(|phone| (row.id, phone))
    }

    /// Keeps Telnyx's id of a recipient. The first one stays.
    fn learn_provider_id(&mut self, id: Uuid, provider_id: &str) {
        let owner = self.by_provider_id.get(provider_id).copied();
        let Some(row) = self.recipients.get(&id) else { return };
        match (&row.provider_id, owner) {
            (None, None) => {
                self.by_provider_id.insert(provider_id.to_owned(), id);
                self.change(id, |row| row.provider_id = Some(provider_id.to_owned()));
            }
            (Some(known), _) if known == provider_id => {}
            _ => warn!(recipient.id = %id, "Telnyx gave a second id; the first one stays"),
        }
    }

    /// Raises a recipient's state; whether it rose.
    fn raise(
        &mut self,
        id: Uuid,
        report: RecipientState,
        failure: Option<&Failure>,
        occurred_at: Option<OffsetDateTime>,
    ) -> bool {
        let Some(row) = self.recipients.get(&id) else { return false };
        let state = row.state.join(report);
        if state == row.state {
            return self.explain(id, report.rank, failure);
        }
        let raised_rank = state.rank > row.state.rank;
        if let Some(at) = occurred_at {
            self.occurred_at.insert(row.message_id, at);
        }
        let at = occurred_at.unwrap_or_else(OffsetDateTime::now_utc);
        self.change(id, |row| {
            row.state = state;
            if raised_rank && state.rank == Rank::Failed {
                row.failure = failure.cloned();
                row.failed_at = Some(at);
            } else if state.rank >= Rank::Delivered {
                row.failure = None;
                row.failed_at = None;
                row.delivered_at = row.delivered_at.or(Some(at));
            }
        });
        true
    }

    /// Telnyx's reason for a failure takes the place of our not knowing; whether it does.
    fn explain(&mut self, id: Uuid, rank: Rank, failure: Option<&Failure>) -> bool {
        let Some(row) = self.recipients.get(&id) else { return false };
        let (Some(known), Some(failure)) = (&row.failure, failure) else { return false };
        if rank != Rank::Failed || known.code != UNRESOLVED || failure.code == UNRESOLVED {
            return false;
        }
        if let Some(message) = self.messages.get_mut(&row.message_id)
            && message.failure_reason.as_ref() == Some(&known.reason)
        {
            message.failure_reason = Some(failure.reason.clone());
            self.touched.insert(message.id);
        }
        self.change(id, |row| row.failure = Some(failure.clone()));
        true
    }

    fn change(&mut self, id: Uuid, change: impl FnOnce(&mut RecipientRow)) {
        if let Some(row) = self.recipients.get_mut(&id) {
            self.before.entry(id).or_insert_with(|| row.clone());
            change(row);
        }
    }

    /// What Telnyx's answer to an attempt does.
    fn answer(&mut self, id: Uuid, answer: &Answer, now: OffsetDateTime) {
        match answer {
            Answer::Accepted { provider_id } => {
                self.learn_provider_id(id, provider_id);
                let message = self.recipients.get(&id).and_then(|row| self.messages.get_mut(&row.message_id));
                if let Some(message) = message.filter(|message| message.sent_at.is_none()) {
                    message.sent_at = Some(now);
                    self.touched.insert(message.id);
                }
            }
            Answer::Refused(failure) => {
                let failed = RecipientState { rank: Rank::Failed, closed: false };
                self.raise(id, failed, Some(failure), Some(now));
            }
            Answer::NotAccepted { again_at } => self.change(id, |row| {
                // A webhook that came meanwhile proves that it was accepted after all.
                if row.provider_id.is_none() {
                    row.attempted_at = None;
                    row.due_at = *again_at;
                    row.tried += 1;
                }
            }),
            Answer::Unresolved => {}
        }
    }

    /// Ends a recipient's waiting for a receipt; whether that changed it.
    fn end_waiting(&mut self, id: Uuid, overdue: &Overdue, now: OffsetDateTime) -> bool {
        let Some(row) = self.recipients.get(&id) else { return false };
        // It was found before it was locked; an answer or a webhook may have come in between.
        let limit =
            if row.provider_id.is_some() { overdue.accepted_before } else { overdue.unresolved_before };
        if row.attempted_at.is_none_or(|at| at >= limit) || row.state.is_finished() {
            return false;
        }
        if row.provider_id.is_some() {
            return self.raise(id, RecipientState { closed: true, ..row.state }, None, Some(now));
        }
        let unresolved = Failure {
            code: UNRESOLVED.into(),
            reason: "Telnyx never said whether it took this message. It may have arrived.".into(),
        };
        self.raise(id, RecipientState { rank: Rank::Failed, closed: false }, Some(&unresolved), Some(now))
    }

    /// Writes what changed: recipients, then messages with their new versions, then one event for each.
    async fn close<L: Ledger>(mut self, ledger: &mut L) -> Result<usize, StoreError> {
        // Taken after the locks: what is committed later does not look as if it had been earlier.
        let now = OffsetDateTime::now_utc();
        let changed: BTreeMap<Uuid, RecipientRow> = self
            .before
            .keys()
            .filter_map(|id| self.recipients.get(id))
            .map(|row| (row.id, row.clone()))
            .collect();
        let mut by_message: BTreeMap<Uuid, Vec<&RecipientRow>> = BTreeMap::new();
        for row in changed.values() {
            by_message.entry(row.message_id).or_default().push(row);
        }
        let mut entries = Vec::new();
        for (message_id, rows) in by_message {
            let Some(message) = self.messages.get_mut(&message_id) else { continue };
            let occurred_at = self.occurred_at.get(&message_id).copied();
            if let Some((event, progress)) = advance(message, &rows, &self.before, (now, occurred_at)) {
                entries.push(OutboxEntry::new(&event, progress)?);
                self.touched.insert(message_id);
            }
        }
        let messages: Vec<MessageRow> =
            self.touched.iter().filter_map(|id| self.messages.get(id)).cloned().collect();
        ledger.save_recipients(&Vec::from_iter(changed.into_values())).await?;
        ledger.save_messages(&messages).await?;
        ledger.append_outbox(&entries).await?;
        Ok(entries.len())
    }
}

/// Gives a message its new version, if its status or counters change, and the event of it with whether it is mere
/// progress.
fn advance(
    message: &mut MessageRow,
    changed: &[&RecipientRow],
    before: &HashMap<Uuid, RecipientRow>,
    (now, occurred_at): (OffsetDateTime, Option<OffsetDateTime>),
) -> Option<(ChurchEvent, bool)> {
    let (status, tally) = (message.status, message.tally);
    let mut named = Vec::new();
    let mut failures: Vec<(OffsetDateTime, &Failure)> = Vec::new();
    for row in changed {
        let old = before.get(&row.id)?.state;
        message.tally.moved(old, row.state);
        if old.word() != row.state.word() {
            named.push(ChangedRecipient { recipient_id: row.id, status: row.state.word() });
        }
        failures.extend(row.failed_at.zip(row.failure.as_ref()));
    }
    if message.tally == tally {
        return None;
    }
    message.status = message.tally.status();
    message.version += 1;
    message.updated_at = now.max(message.updated_at);
    if let Some((_, failure)) = failures.into_iter().max_by_key(|(at, _)| *at) {
        message.failure_reason = Some(failure.reason.clone());
    }
    if message.tally.failed == 0 {
        message.failure_reason = None;
    }
    let kind = EventType::of_change(status, message.status);
    let mut event = message.event(kind, now);
    event.set_changed(named);
    event.occurred_at = occurred_at;
    Some((event, status == message.status))
}

impl MessageRow {
    /// A snapshot of the message.
    pub(super) fn event(&self, kind: EventType, now: OffsetDateTime) -> ChurchEvent {
        let mut event = ChurchEvent {
            v: FORMAT,
            id: Uuid::now_v7(),
            kind,
            church_id: self.church_id.clone(),
            message_id: self.id,
            conversation_id: self.conversation_id.clone(),
            status: self.status,
            version: self.version,
            recipient_count: 0,
            delivered_count: 0,
            failed_count: 0,
            unconfirmed_count: 0,
            read_count: 0,
            failure_reason: self.failure_reason.clone(),
            changed: Vec::new(),
            changed_more: false,
            user_id: Some(self.author_id.clone()),
            timestamp: now,
            occurred_at: None,
        };
        event.set_tally(&self.tally);
        event
    }
}
