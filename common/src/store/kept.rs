//! Webhooks that are kept: listed, and processed again after a mended fault.

use std::collections::HashSet;

use super::book::Book;
use super::bulk;
use super::columns::{Columns, Read};
use super::database::Database;
use super::failures::StoreError;
use super::handle::{Store, dispatch};
use super::inbound::NewTexts;
use super::ledger::{Ledger, Locking};
use super::new_events::NewEvents;
use super::records::{
    KeptBody, KeptQuery, KeptWebhook, Outcome, Reprocessed, Webhook, WebhookContent, WebhookQuery,
};
use super::rows::WebhookRow;
use super::session::{Session, end, leave};
use super::sql::{Sql, Statement, sql};

impl Store {
    /// A page of kept webhooks, oldest first.
    ///
    /// # Errors
    /// The database is away.
    pub async fn kept_webhooks(&self, query: &KeptQuery) -> Result<Vec<KeptWebhook>, StoreError> {
        dispatch!(self, db => db.fetch(page_of(query)).await)
    }

    /// Lists webhooks, newest first. Reads back to a moment.
    ///
    /// # Errors
    /// The database is away.
    pub async fn webhooks(&self, query: &WebhookQuery) -> Result<Vec<KeptWebhook>, StoreError> {
        dispatch!(self, db => db.fetch(newest(query)).await)
    }

    /// One webhook, and its body; empty if it was erased.
    ///
    /// # Errors
    /// The database is away.
    pub async fn webhook(&self, event_id: &str) -> Result<Option<(KeptWebhook, KeptBody)>, StoreError> {
        const FIND: Sql = sql!("select " [kept webhook] ", body from webhooks where event_id = $1");
        Ok(dispatch!(self, db => db.fetch(FIND.bind(event_id)).await)?.pop())
    }

    /// The bodies of parked and ignored webhooks, unless they were erased.
    ///
    /// # Errors
    /// The database is away.
    pub async fn kept_bodies(&self, event_ids: &[&str]) -> Result<Vec<KeptBody>, StoreError> {
        const FIND: Sql = sql!(
            "select event_id, received_at, body from webhooks
             where event_id " [in 1] " and outcome in ('parked', 'ignored') and length(body) > 0 order by event_id"
        );
        dispatch!(self, db => db.fetch(FIND.bind(event_ids)).await)
    }

    /// Processes webhooks again that are parked or ignored, in one transaction; with `dry` only says what they would
    /// come to. A webhook that changed something meanwhile is left out.
    ///
    /// # Errors
    /// The database is away or refuses something. Nothing is changed then.
    pub async fn reprocess(&self, webhooks: &[Webhook], dry: bool) -> Result<Vec<Reprocessed>, StoreError> {
        let (reprocessed, events) = dispatch!(self, db => reprocess(db, webhooks, dry).await)?;
        if !dry {
            self.committed(&events);
        }
        Ok(reprocessed)
    }
}

fn page_of(query: &KeptQuery) -> Statement<'_> {
    const FIND: Sql = sql!("select " [kept webhook] " from webhooks where outcome " [in 1]);
    let outcomes: Vec<&str> = match query.outcome {
        Some(outcome) => vec![outcome.into()],
        None => vec![Outcome::Parked.into(), Outcome::Ignored.into()],
    };
    let ids: Vec<&str> = query.event_ids.iter().map(String::as_str).collect();
    let after = query.after.as_ref();
    FIND.bind(outcomes)
        .bind(ids)
        .bind(&query.reason)
        .bind(query.since)
        .bind(query.until)
        .bind(after.map(|(at, _)| *at))
        .bind(after.map(|(_, id)| id.as_str()))
        .bind(query.limit)
        .push((!query.event_ids.is_empty()).then_some(sql!(" and event_id " [in 2])))
        .push(query.reason.is_some().then_some(CONTAINS))
        .push(query.since.is_some().then_some(sql!(" and received_at >= $4")))
        .push(query.until.is_some().then_some(sql!(" and received_at < $5")))
        .push(after.is_some().then_some(sql!(" and (received_at, event_id) > ($6, $7)")))
        .push(sql!(" order by received_at, event_id limit $8"))
}

pub(super) fn newest(query: &WebhookQuery) -> Statement<'_> {
    const FIND: Sql = sql!("select " [kept webhook] " from webhooks where received_at >= $1");
    let before = query.before.as_ref();
    let of_outcome = match query.outcome {
        Some(Outcome::Duplicate) => Some(sql!(" and deliveries > 1")),
        Some(_) => Some(sql!(" and outcome = $2")),
        None => None,
    };
    FIND.bind(query.since)
        .bind(query.outcome.map(<&str>::from))
        .bind(query.limit)
        .bind(before.map(|(at, _)| *at))
        .bind(before.map(|(_, id)| id.as_str()))
        .push(of_outcome)
        .push(before.is_some().then_some(sql!(" and (received_at, event_id) < ($4, $5)")))
        .push(sql!(" order by received_at desc, event_id desc limit $3"))
}

const CONTAINS: Sql =
    Sql { postgres: " and position($3 in reason) > 0", sqlite: " and instr(reason, $3) > 0" };

async fn reprocess<D: Database>(
    db: &D,
    webhooks: &[Webhook],
    dry: bool,
) -> Result<(Vec<Reprocessed>, NewEvents), StoreError> {
    let mut tx = db.begin().await?;
    let done = apply_again(&mut tx, webhooks).await;
    if dry { leave(tx, done).await } else { end(tx, done).await }
}

async fn apply_again<L: Ledger>(
    tx: &mut L,
    webhooks: &[Webhook],
) -> Result<(Vec<Reprocessed>, NewEvents), StoreError> {
    let reports = || webhooks.iter().filter_map(Webhook::delivery);
    let provider_ids: Vec<&str> = reports().map(|report| report.provider_id.as_str()).collect();
    let hints: Vec<_> = reports().filter_map(|report| report.recipient_hint).collect();
    let mut book = Book::open(tx, &provider_ids, &hints, Locking::Wait).await?;
    let mut texts = NewTexts::open(tx, webhooks).await?;
    // Webhooks are locked last, as everywhere.
    let unused = lock_unused(tx, webhooks).await?;
    let mut rows = Vec::new();
    for webhook in webhooks.iter().filter(|webhook| unused.contains(&webhook.event_id)) {
        rows.push(match &webhook.content {
            WebhookContent::Inbound(text) => texts.take(webhook, text),
            _ => book.apply(webhook),
        });
    }
    let mut events = book.close(tx).await?;
    events.add_inbound(texts.save(tx).await?);
    save(tx, &rows).await?;
    Ok((rows.iter().map(reprocessed).collect(), events))
}

fn reprocessed(row: &WebhookRow<'_>) -> Reprocessed {
    Reprocessed {
        event_id: row.webhook.event_id.clone(),
        outcome: row.outcome,
        reason: row.reason.map(str::to_owned),
    }
}

/// Locks those of the webhooks that are parked or ignored.
async fn lock_unused<S: Session>(tx: &mut S, webhooks: &[Webhook]) -> Result<HashSet<String>, StoreError> {
    const LOCK: Sql = sql!(
        "select event_id as value from webhooks
         where event_id " [in 1] " and outcome in ('parked', 'ignored') order by event_id" [lock]
    );
    let ids: Vec<&str> = webhooks.iter().map(|webhook| webhook.event_id.as_str()).collect();
    let locked: Vec<String> = tx.fetch(LOCK.bind(ids)).await?;
    Ok(locked.into_iter().collect())
}

async fn save<S: Session>(tx: &mut S, rows: &[WebhookRow<'_>]) -> Result<(), StoreError> {
    const SAVE: Sql = sql!(
        "update webhooks set event_type = new.event_type, outcome = new.outcome, reason = new.reason,
             recipient_id = new.recipient_id, provider_id = new.provider_id, report = new.report,
             occurred_at = new.occurred_at
         from"
    );
    if rows.is_empty() {
        return Ok(());
    }
    let new = bulk::rows(rows)
        .text("event_id", |row| &row.webhook.event_id)
        .text("event_type", |row| &row.webhook.event_type)
        .text("outcome", |row| row.outcome.into())
        .opt_text("reason", |row| row.reason.map(str::to_owned))
        .opt_id("recipient_id", |row| row.recipient_id)
        .opt_text("provider_id", |row| row.provider_id().map(str::to_owned))
        .opt_text("report", WebhookRow::report)
        .opt_time("occurred_at", |row| row.webhook.occurred_at)
        .build();
    let save = Statement::from(SAVE).push_rows(new).push(sql!(" where webhooks.event_id = new.event_id"));
    tx.execute(save).await.map(drop)
}

impl Read for (KeptWebhook, KeptBody) {
    fn read(row: &impl Columns) -> Result<Self, StoreError> {
        Ok((KeptWebhook::read(row)?, KeptBody::read(row)?))
    }
}

impl Read for KeptBody {
    fn read(row: &impl Columns) -> Result<Self, StoreError> {
        Ok(Self {
            event_id: row.text("event_id")?,
            received_at: row.time("received_at")?,
            body: row.bytes("body")?.into(),
        })
    }
}
