//! Webhooks are recorded in batches; one bad webhook does not affect the others of its batch.
//!
//! A batch waits a short time for rows that another transaction has locked. Then it is repeated without them: webhooks
//! of locked rows are left to the next batch, or parked once they are old. Each batch waits first, so that no message
//! starves.

use std::collections::{BTreeMap, HashSet};

use time::OffsetDateTime;
use tracing::{error, warn};
use uuid::Uuid;

use super::book::{Book, FIND, FoundRecipient};
use super::bulk;
use super::columns::{Columns, Read};
use super::database::Database;
use super::failures::StoreError;
use super::handle::{Store, dispatch};
use super::inbound::NewTexts;
use super::ledger::{Ledger, Locking};
use super::new_events::NewEvents;
use super::parked::match_parked;
use super::records::{Outcome, Webhook, WebhookContent};
use super::rows::{ParkedRow, WebhookRow};
use super::session::{Session, end};
use super::sql::{Sql, Statement, sql};

/// The result for one webhook of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recording {
    /// It is recorded.
    Recorded(Outcome),
    /// Another transaction has locked its message or recipient. It is not recorded; put it into the next batch.
    Locked,
    /// A newer version wrote its row, and this one can't read it. It is not recorded; Telnyx has to send it again.
    Unreadable,
}

/// The result of a batch.
#[derive(Debug, Default)]
pub struct Batch {
    /// One for each webhook, in the order given.
    pub recordings: Vec<Recording>,
    /// Webhooks recorded as parked; their recipients may be known by now.
    pub(super) parked: Vec<ParkedRow>,
    pub(super) events: NewEvents,
}

impl Batch {
    fn add(&mut self, part: Self) {
        self.recordings.extend(part.recordings);
        self.parked.extend(part.parked);
        self.events.append(part.events);
    }

    fn of(recording: Recording) -> Self {
        Self { recordings: vec![recording], ..Self::default() }
    }
}

impl Store {
    /// Records a batch of webhooks, in one transaction if possible. A webhook that the database refuses is split off
    /// and recorded as ignored. A webhook whose message another transaction has locked is parked if it was received
    /// before `park_before`, else left out. Once the webhooks are answered, pass the batch to
    /// [`Store::apply_recorded`].
    ///
    /// # Errors
    /// The database is away ([`StoreError::is_temporary`]). If the batch was split, a part of it may be recorded.
    pub async fn record_batch(
        &self,
        batch: &[Webhook],
        park_before: OffsetDateTime,
    ) -> Result<Batch, StoreError> {
        let recorded = dispatch!(self, db => record(db, batch, park_before).await)?;
        self.committed(&recorded.events);
        Ok(recorded)
    }

    /// Applies webhooks that were just parked, if their recipients were committed meanwhile. If this fails, the sweep
    /// ([`Store::sweep_parked`]) applies them later.
    ///
    /// # Errors
    /// The database is away.
    pub async fn apply_recorded(&self, batch: Batch) -> Result<(), StoreError> {
        if batch.parked.is_empty() {
            return Ok(());
        }
        let parked = &batch.parked;
        let (_, events) = dispatch!(self, db => match_parked(db, parked.clone()).await)?;
        self.committed(&events);
        Ok(())
    }

    /// Records a batch and applies what it parked. Webhooks of locked rows are parked. Returns one outcome for each
    /// webhook, in the order given.
    ///
    /// # Errors
    /// The database is away ([`StoreError::is_temporary`]), or holds a row that this version can't read.
    pub async fn record_webhooks(&self, batch: &[Webhook]) -> Result<Vec<Outcome>, StoreError> {
        let everything = OffsetDateTime::now_utc() + time::Duration::DAY;
        let mut recorded = self.record_batch(batch, everything).await?;
        let recordings = std::mem::take(&mut recorded.recordings);
        if let Err(error) = self.apply_recorded(recorded).await {
            warn!(error = &error as &dyn std::error::Error, "parked webhooks wait for the sweep");
        }
        let outcome = |recording| match recording {
            Recording::Recorded(outcome) => Ok(outcome),
            Recording::Locked => Ok(Outcome::Parked),
            Recording::Unreadable => Err(StoreError::Unreadable("a newer version wrote it".into())),
        };
        recordings.into_iter().map(outcome).collect()
    }
}

/// Records a batch. Halves it while the database refuses something in it or this version can't read a row. Webhooks of
/// locked rows are parked if they were received before `park_before`.
async fn record<D: Database>(
    db: &D,
    batch: &[Webhook],
    park_before: OffsetDateTime,
) -> Result<Batch, StoreError> {
    let mut all = Batch::default();
    // Parts still to record, the next one last.
    let mut parts = vec![batch];
    let (mut locking, mut repeated) = (Locking::Wait, false);
    while let Some(part) = parts.pop() {
        let mut tx = db.begin().await?;
        let recorded = record_part(&mut tx, part, park_before, locking).await;
        let error = match end(tx, recorded).await {
            Ok(recorded) => {
                all.add(recorded);
                continue;
            }
            Err(error) => error,
        };
        match part {
            _ if error.is_row_lock() && locking == Locking::Wait => {
                locking = Locking::SkipLocked;
                parts.push(part);
            }
            _ if error.may_be_repeated() && !repeated => {
                repeated = true;
                if error.is_stale_plan() {
                    db.renew();
                }
                parts.push(part);
            }
            _ if error.is_temporary() => return Err(error),
            [webhook] => all.add(record_alone(db, webhook, &error).await?),
            _ => {
                let (first, second) = part.split_at(part.len() / 2);
                parts.extend([second, first]);
            }
        }
    }
    Ok(all)
}

async fn record_part<L: Ledger>(
    tx: &mut L,
    batch: &[Webhook],
    park_before: OffsetDateTime,
    locking: Locking,
) -> Result<Batch, StoreError> {
    let event_ids: Vec<&str> = batch.iter().map(|webhook| webhook.event_id.as_str()).collect();
    let reports = || batch.iter().filter_map(Webhook::delivery);
    let provider_ids: Vec<&str> = reports().map(|report| report.provider_id.as_str()).collect();
    let hints: Vec<Uuid> = reports().filter_map(|report| report.recipient_hint).collect();
    let (known, found) = find(tx, &event_ids, &provider_ids, &hints).await?;
    let mut book = Book::of(tx, found, locking).await?;
    let mut texts = NewTexts::open(tx, batch).await?;

    let mut rows: BTreeMap<&str, WebhookRow<'_>> = BTreeMap::new();
    let mut left_out: HashSet<&str> = HashSet::new();
    let mut recorded = Batch::default();
    for webhook in batch {
        let event_id = webhook.event_id.as_str();
        if let Some(row) = rows.get_mut(event_id) {
            row.deliveries += 1;
            recorded.recordings.push(Recording::Recorded(Outcome::Duplicate));
            continue;
        }
        let is_known = known.contains(event_id);
        let is_locked =
            !is_known && webhook.delivery().is_some_and(|report| book.is_locked_elsewhere(report));
        if left_out.contains(event_id) || is_locked && webhook.received_at >= park_before {
            left_out.insert(event_id);
            recorded.recordings.push(Recording::Locked);
            continue;
        }
        let row = match (is_known, is_locked) {
            // The database counts it; its report was applied or parked when it came first.
            (true, _) => WebhookRow::new(webhook, Outcome::Duplicate),
            // The sweep applies it once the row is unlocked.
            (_, true) => WebhookRow::new(webhook, Outcome::Parked),
            _ => match webhook.inbound() {
                Some(text) => texts.take(webhook, text),
                None => book.apply(webhook),
            },
        };
        if row.outcome == Outcome::Parked && !is_locked {
            recorded.parked.extend(parked(webhook));
        }
        recorded.recordings.push(Recording::Recorded(row.outcome));
        rows.insert(event_id, row);
    }
    // Webhooks are locked last, as everywhere: what is written with them is locked already, or new.
    let (mut writes, events) = book.writes()?;
    recorded.events = events;
    recorded.events.add_inbound(texts.save(tx).await?);
    writes.push(saving(&Vec::from_iter(rows.into_values())));
    tx.execute_all(writes).await?;
    Ok(recorded)
}

fn parked(webhook: &Webhook) -> Option<ParkedRow> {
    let report = webhook.delivery()?.clone();
    Some(ParkedRow { event_id: webhook.event_id.clone(), occurred_at: webhook.occurred_at, report })
}

/// Handles a webhook that can't be recorded alone.
async fn record_alone<D: Database>(
    db: &D,
    webhook: &Webhook,
    cause: &StoreError,
) -> Result<Batch, StoreError> {
    if matches!(cause, StoreError::Unreadable(_)) {
        error!(
            error = cause as &dyn std::error::Error,
            "a webhook concerns a row that this version can't read; Telnyx has to send it again"
        );
        return Ok(Batch::of(Recording::Unreadable));
    }
    error!(error = cause as &dyn std::error::Error, "the database refuses a webhook; it is kept as ignored");
    let mut tx = db.begin().await?;
    let kept = refused(webhook);
    let recorded = record_part(&mut tx, &[kept], OffsetDateTime::UNIX_EPOCH, Locking::Wait).await;
    end(tx, recorded).await
}

/// The body of a refused webhook as an ignored one, under an id derived from its own.
fn refused(webhook: &Webhook) -> Webhook {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, webhook.event_id.as_bytes());
    let id: String = digest.as_ref().iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    let reason = "the database refused it".to_owned();
    Webhook {
        event_id: format!("refused-{id}"),
        event_type: "refused".into(),
        occurred_at: None,
        content: WebhookContent::Ignored { reason },
        ..webhook.clone()
    }
}

/// The statement that records webhooks; one that another transaction recorded meanwhile only counts its deliveries up.
fn saving(rows: &[WebhookRow<'_>]) -> Statement<'static> {
    const SAVE: Sql = sql!(
        "insert into webhooks (event_id, event_type, deliveries, outcome, reason, recipient_id, provider_id, report,
             occurred_at, received_at, body)
         select event_id, event_type, deliveries, outcome, reason, recipient_id, provider_id, report, occurred_at,
             received_at, body from"
    );
    const REPEATED: Sql = sql!(
        " where true order by event_id
         on conflict (event_id) do update set deliveries = webhooks.deliveries + excluded.deliveries"
    );
    let new = bulk::rows(rows)
        .text("event_id", |row| &row.webhook.event_id)
        .text("event_type", |row| &row.webhook.event_type)
        .number("deliveries", |row| row.deliveries)
        .text("outcome", |row| row.outcome.into())
        .opt_text("reason", |row| row.reason.map(str::to_owned))
        .opt_id("recipient_id", |row| row.recipient_id)
        .opt_text("provider_id", |row| row.provider_id().map(str::to_owned))
        .opt_text("report", WebhookRow::report)
        .opt_time("occurred_at", |row| row.webhook.occurred_at)
        .time("received_at", |row| row.webhook.received_at)
        .bytes("body", |row| &row.webhook.body)
        .build();
    Statement::from(SAVE).push_rows(new).push(REPEATED)
}

/// What a batch concerns: an event that is recorded, or a recipient.
enum Seen {
    Event(String),
    Recipient(FoundRecipient),
}

impl Read for Seen {
    fn read(row: &impl Columns) -> Result<Self, StoreError> {
        match row.opt_text("event_id")? {
            Some(event_id) => Ok(Self::Event(event_id)),
            None => FoundRecipient::read(row).map(Self::Recipient),
        }
    }
}

/// Which of these events are recorded, and the recipients with these ids.
async fn find<S: Session>(
    tx: &mut S,
    event_ids: &[&str],
    provider_ids: &[&str],
    hints: &[Uuid],
) -> Result<(HashSet<String>, Vec<FoundRecipient>), StoreError> {
    // The first part gives the columns their types.
    const RECIPIENTS: Sql = sql!("select id, message_id, provider_id, null as event_id from (");
    const EVENTS: Sql = sql!(
        ") found union all select null, null, null, event_id from webhooks where event_id " [in 3]
    );
    let find = Statement::from(RECIPIENTS).push(FIND).push(EVENTS);
    let find = find.bind(provider_ids).bind(hints).bind(event_ids);
    let (mut known, mut found) = (HashSet::new(), Vec::new());
    for seen in tx.fetch(find).await? {
        match seen {
            Seen::Event(event_id) => drop(known.insert(event_id)),
            Seen::Recipient(recipient) => found.push(recipient),
        }
    }
    Ok((known, found))
}
