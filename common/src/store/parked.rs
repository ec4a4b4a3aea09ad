//! Parked webhooks: recorded before their recipient was known, and applied once it is.

use tracing::debug;
use uuid::Uuid;

use super::book::Book;
use super::bulk;
use super::database::Database;
use super::failures::StoreError;
use super::handle::{Store, dispatch};
use super::ledger::{Ledger, Locking};
use super::new_events::NewEvents;
use super::records::KeptWebhook;
use super::rows::{ParkedRow, Unparked};
use super::session::{Session, end, only};
use super::sql::{Sql, Statement, sql};

impl Store {
    /// Applies the next `limit` parked webhooks after the event id `after` whose recipients are known by now. Returns
    /// how many were applied, and the event id to continue after; `None` at the end.
    ///
    /// # Errors
    /// The database is away.
    pub async fn sweep_parked(
        &self,
        after: Option<&str>,
        limit: u32,
    ) -> Result<(usize, Option<String>), StoreError> {
        let (matched, next, events) = dispatch!(self, db => sweep(db, after, limit).await)?;
        self.committed(&events);
        Ok((matched, next))
    }

    /// The parked webhooks of the message that Telnyx knows by this id, oldest first.
    ///
    /// # Errors
    /// The database is away.
    pub async fn parked_of(&self, provider_id: &str, limit: u32) -> Result<Vec<KeptWebhook>, StoreError> {
        const FIND: Sql = sql!(
            "select " [kept webhook] " from webhooks
             where outcome = 'parked' and provider_id = $1 order by received_at, event_id limit $2"
        );
        dispatch!(self, db => db.fetch(FIND.bind(provider_id).bind(limit)).await)
    }

    /// How many webhooks are parked, counted up to a limit.
    ///
    /// # Errors
    /// The database is away.
    pub async fn parked_webhooks(&self, limit: u32) -> Result<i64, StoreError> {
        only(dispatch!(self, db => db.fetch(COUNT.bind(limit)).await)?)
    }
}

pub(super) const COUNT: Sql =
    sql!("select count(*) as value from (select 1 from webhooks where outcome = 'parked' limit $1) parked");

/// A page of parked webhooks in the order of their event ids.
pub(super) const PAGE: Sql = sql!(
    "select event_id, occurred_at, report from webhooks
     where outcome = 'parked' and event_id > $1 order by event_id limit $2"
);

/// Finds parked webhooks by provider id, without locking them.
pub(super) async fn find_parked<S: Session>(
    tx: &mut S,
    provider_ids: &[&str],
) -> Result<Vec<ParkedRow>, StoreError> {
    const FIND: Sql = sql!("select event_id, occurred_at, report from webhooks
                            where outcome = 'parked' and provider_id " [in 1] " order by event_id");
    if provider_ids.is_empty() {
        return Ok(Vec::new());
    }
    tx.fetch(FIND.bind(provider_ids)).await
}

/// Locks those of these webhooks that are still parked. Webhooks are locked after messages and recipients.
async fn lock_parked<S: Session>(tx: &mut S, event_ids: &[&str]) -> Result<Vec<ParkedRow>, StoreError> {
    const LOCK: Sql = sql!("select event_id, occurred_at, report from webhooks
                            where outcome = 'parked' and event_id " [in 1] " order by event_id" [lock]);
    tx.fetch(LOCK.bind(event_ids)).await
}

/// Applies a page of parked webhooks. Returns how many were applied, where to continue, and the new events.
async fn sweep<D: Database>(
    db: &D,
    after: Option<&str>,
    limit: u32,
) -> Result<(usize, Option<String>, NewEvents), StoreError> {
    let rows: Vec<ParkedRow> = db.fetch(PAGE.bind(after.unwrap_or_default()).bind(limit)).await?;
    let full = rows.len() >= limit as usize;
    let next = rows.last().map(|row| row.event_id.clone()).filter(|_| full);
    let (matched, events) = match_parked(db, rows).await?;
    Ok((matched, next, events))
}

/// Applies parked webhooks whose recipients are known by now. Webhooks of rows that are locked, or that this version
/// can't read, stay parked. Returns how many were applied, and the new events.
pub(super) async fn match_parked<D: Database>(
    db: &D,
    parked: Vec<ParkedRow>,
) -> Result<(usize, NewEvents), StoreError> {
    let (mut matched, mut events) = (0, NewEvents::default());
    let mut parts = vec![parked];
    let mut locking = Locking::Wait;
    while let Some(mut part) = parts.pop() {
        if part.is_empty() {
            continue;
        }
        let mut tx = db.begin().await?;
        let done = match_part(&mut tx, &part, locking).await;
        match end(tx, done).await {
            Ok(part_done) => {
                matched += part_done.0;
                events.append(part_done.1);
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
    Ok((matched, events))
}

async fn match_part<L: Ledger>(
    tx: &mut L,
    parked: &[ParkedRow],
    locking: Locking,
) -> Result<(usize, NewEvents), StoreError> {
    let provider_ids: Vec<&str> = parked.iter().map(|row| row.report.provider_id.as_str()).collect();
    let hints: Vec<Uuid> = parked.iter().filter_map(|row| row.report.recipient_hint).collect();
    let mut book = Book::open(tx, &provider_ids, &hints, locking).await?;
    let matched = apply_parked(tx, &mut book, parked.to_vec()).await?;
    Ok((matched, book.close(tx).await?))
}

/// Applies webhooks that are still parked; their recipients are locked. Returns how many were applied.
pub(super) async fn apply_parked<L: Ledger>(
    tx: &mut L,
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
        let (recipient_id, outcome) = book.apply_report(&row.report, row.occurred_at)?;
        Some(Unparked { event_id: row.event_id, outcome, recipient_id })
    };
    let unparked: Vec<Unparked> = lock_parked(tx, &found).await?.into_iter().filter_map(apply).collect();
    save(tx, &unparked).await?;
    Ok(unparked.len())
}

/// Saves the outcomes of webhooks that are parked no more.
async fn save<S: Session>(tx: &mut S, rows: &[Unparked]) -> Result<(), StoreError> {
    const SAVE: Sql = sql!(
        "update webhooks set outcome = new.outcome, recipient_id = new.recipient_id, report = null from"
    );
    if rows.is_empty() {
        return Ok(());
    }
    let new = bulk::rows(rows)
        .text("event_id", |row| &row.event_id)
        .text("outcome", |row| row.outcome.into())
        .id("recipient_id", |row| row.recipient_id)
        .build();
    let save = Statement::from(SAVE).push_rows(new).push(sql!(" where webhooks.event_id = new.event_id"));
    tx.execute(save).await.map(drop)
}
