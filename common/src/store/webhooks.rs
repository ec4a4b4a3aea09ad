//! Webhooks: recorded batch by batch, so that no webhook of a batch harms another; parked ones find their recipient.
//!
//! A batch waits a little for rows that another transaction has locked. Once that was too long, it is done again
//! without them: webhooks of those rows are left out and come again with the next batch, or are parked once they are
//! old. Every batch waits first, so no message starves.

use std::collections::{BTreeMap, HashSet};

use time::OffsetDateTime;
use tracing::{debug, error};
use uuid::Uuid;

use super::book::Book;
use super::ledger::{Database, Ledger, Locking, ParkedRow, Settled, WebhookRow, end};
use super::new_events::News;
use super::{Outcome, StoreError, Webhook, WebhookContent};

/// What became of one webhook of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recording {
    /// It is recorded.
    Recorded(Outcome),
    /// Another transaction has locked its message or recipient. It is not recorded and belongs into the next batch.
    Locked,
    /// It concerns a row that a newer version wrote and this one can't read. It is not recorded; Telnyx has to send
    /// it again.
    Unreadable,
}

/// What became of a batch.
#[derive(Debug, Default)]
pub struct Batch {
    /// One for each webhook, in the order given.
    pub recordings: Vec<Recording>,
    /// Recorded as parked, because their recipients were not known: they may be by now.
    pub(super) parked: Vec<ParkedRow>,
    pub(super) news: News,
}

impl Batch {
    fn add(&mut self, part: Self) {
        self.recordings.extend(part.recordings);
        self.parked.extend(part.parked);
        self.news.append(part.news);
    }

    fn of(recording: Recording) -> Self {
        Self { recordings: vec![recording], ..Self::default() }
    }
}

/// Records a batch; splits it as long as the database refuses something in it, or this version can't read something.
/// Of what is locked, webhooks received before `park_before` are parked.
pub(super) async fn record<D: Database>(
    database: &D,
    batch: &[Webhook],
    park_before: OffsetDateTime,
) -> Result<Batch, StoreError> {
    let mut all = Batch::default();
    // The parts still to be recorded, the next one last, so that they come in the order of the batch.
    let mut parts = vec![batch];
    let (mut locking, mut repeated) = (Locking::Wait, false);
    while let Some(part) = parts.pop() {
        let mut ledger = database.begin().await?;
        let recorded = record_part(&mut ledger, part, park_before, locking).await;
        let error = match end(ledger, recorded).await {
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
                    database.renew();
                }
                parts.push(part);
            }
            _ if error.is_temporary() => return Err(error),
            [webhook] => all.add(record_alone(database, webhook, &error).await?),
            _ => {
                let (first, second) = part.split_at(part.len() / 2);
                parts.extend([second, first]);
            }
        }
    }
    Ok(all)
}

async fn record_part<L: Ledger>(
    ledger: &mut L,
    batch: &[Webhook],
    park_before: OffsetDateTime,
    locking: Locking,
) -> Result<Batch, StoreError> {
    let event_ids: Vec<&str> = batch.iter().map(|webhook| webhook.event_id.as_str()).collect();
    let known = ledger.known_events(&event_ids).await?;
    let reports = || batch.iter().filter_map(Webhook::delivery);
    let provider_ids: Vec<&str> = reports().map(|report| report.provider_id.as_str()).collect();
    let hints: Vec<Uuid> = reports().filter_map(|report| report.recipient_hint).collect();
    let mut book = Book::open(ledger, &provider_ids, &hints, locking).await?;

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
        let is_locked = !is_known && webhook.delivery().is_some_and(|report| book.is_left_out(report));
        if left_out.contains(event_id) || is_locked && webhook.received_at >= park_before {
            left_out.insert(event_id);
            recorded.recordings.push(Recording::Locked);
            continue;
        }
        let row = match (is_known, is_locked) {
            // The database counts it up; what it reports was applied or parked when it first came.
            (true, _) => WebhookRow::new(webhook, Outcome::Duplicate),
            // The sweep finds its recipient once that is free.
            (_, true) => WebhookRow::new(webhook, Outcome::Parked),
            _ => book.read(webhook),
        };
        if row.outcome == Outcome::Parked && !is_locked {
            recorded.parked.extend(parked(webhook));
        }
        recorded.recordings.push(Recording::Recorded(row.outcome));
        rows.insert(event_id, row);
    }
    // Webhooks are locked last, as everywhere.
    recorded.news = book.close(ledger).await?;
    ledger.save_webhooks(&Vec::from_iter(rows.into_values())).await?;
    Ok(recorded)
}

fn parked(webhook: &Webhook) -> Option<ParkedRow> {
    let report = webhook.delivery()?.clone();
    Some(ParkedRow { event_id: webhook.event_id.clone(), occurred_at: webhook.occurred_at, report })
}

/// What can't be recorded although it is alone.
async fn record_alone<D: Database>(
    database: &D,
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
    let mut ledger = database.begin().await?;
    let kept = refused(webhook);
    let recorded = record_part(&mut ledger, &[kept], OffsetDateTime::UNIX_EPOCH, Locking::Wait).await;
    end(ledger, recorded).await
}

/// What the database refuses to record, as what it is: its body, under an id made from its id.
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

/// Tries a page of the parked webhooks again: how many found their recipient, where to go on, the news.
pub(super) async fn sweep_parked<D: Database>(
    database: &D,
    after: Option<&str>,
    limit: u32,
) -> Result<(usize, Option<String>, News), StoreError> {
    let rows = database.parked_after(after.unwrap_or_default(), limit).await?;
    let full = rows.len() >= limit as usize;
    let next = rows.last().map(|row| row.event_id.clone()).filter(|_| full);
    let (claimed, news) = claim(database, rows).await?;
    Ok((claimed, next, news))
}

/// Gives parked webhooks their recipients. What is locked, and what this version can't read, stays parked. Returns how
/// many found theirs, and the news.
pub(super) async fn claim<D: Database>(
    database: &D,
    parked: Vec<ParkedRow>,
) -> Result<(usize, News), StoreError> {
    let (mut settled, mut news) = (0, News::default());
    let mut parts = vec![parked];
    let mut locking = Locking::Wait;
    while let Some(mut part) = parts.pop() {
        if part.is_empty() {
            continue;
        }
        let mut ledger = database.begin().await?;
        let claimed = claim_part(&mut ledger, &part, locking).await;
        match end(ledger, claimed).await {
            Ok(claimed) => {
                settled += claimed.0;
                news.append(claimed.1);
            }
            Err(error) if error.is_row_lock() && locking == Locking::Wait => {
                locking = Locking::SkipLocked;
                parts.push(part);
            }
            Err(StoreError::Unreadable(why)) if part.len() == 1 => {
                debug!(why, "a parked webhook concerns a row that this version can't read; it stays parked");
            }
            Err(StoreError::Unreadable(_)) => {
                let second = part.split_off(part.len() / 2);
                parts.extend([second, part]);
            }
            Err(error) => return Err(error),
        }
    }
    Ok((settled, news))
}

async fn claim_part<L: Ledger>(
    ledger: &mut L,
    parked: &[ParkedRow],
    locking: Locking,
) -> Result<(usize, News), StoreError> {
    let provider_ids: Vec<&str> = parked.iter().map(|row| row.report.provider_id.as_str()).collect();
    let hints: Vec<Uuid> = parked.iter().filter_map(|row| row.report.recipient_hint).collect();
    let mut book = Book::open(ledger, &provider_ids, &hints, locking).await?;
    let settled = settle(ledger, &mut book, parked.to_vec()).await?;
    Ok((settled, book.close(ledger).await?))
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
