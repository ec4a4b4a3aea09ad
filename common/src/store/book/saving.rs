//! Writes changed rows back.

use crate::store::bulk;
use crate::store::failures::StoreError;
use crate::store::rows::{MessageRow, RecipientRow};
use crate::store::session::Session;
use crate::store::sql::{Sql, Statement, sql};

const RECIPIENTS: Sql = sql!(
    "update recipients
     set rank = new.rank, closed = new.closed, provider_id = new.provider_id, due_at = new.due_at,
         attempted_at = new.attempted_at, tried = new.tried, failure_code = new.failure_code,
         failure_reason = new.failure_reason, delivered_at = new.delivered_at, failed_at = new.failed_at,
         claim_id = new.claim_id, ask_at = new.ask_at
     from"
);

pub(super) async fn save_recipients<S: Session>(tx: &mut S, rows: &[RecipientRow]) -> Result<(), StoreError> {
    if rows.is_empty() {
        return Ok(());
    }
    let new = bulk::rows(rows)
        .id("id", |row| row.id)
        .number("rank", |row| row.state.rank.as_i16().into())
        .flag("closed", |row| row.state.closed)
        .opt_text("provider_id", |row| row.provider_id.clone())
        .time("due_at", |row| row.due_at)
        .opt_time("attempted_at", |row| row.attempted_at)
        .number("tried", |row| row.tried.into())
        .opt_text("failure_code", |row| row.failure.as_ref().map(|failure| failure.code.clone()))
        .opt_text("failure_reason", |row| row.failure.as_ref().map(|failure| failure.reason.clone()))
        .opt_time("delivered_at", |row| row.delivered_at)
        .opt_time("failed_at", |row| row.failed_at)
        .opt_id("claim_id", |row| row.claim_id)
        .opt_time("ask_at", |row| row.ask_at)
        .build();
    let save = Statement::from(RECIPIENTS).push_rows(new).push(sql!(" where recipients.id = new.id"));
    tx.execute(save).await.map(drop)
}

const MESSAGES: Sql = sql!(
    "update messages
     set status = new.status, version = new.version, delivered_count = new.delivered, failed_count = new.failed,
         unconfirmed_count = new.unconfirmed, read_count = new.read,
         cancelled_count = new.cancelled, cancelled_by = new.cancelled_by, failure_reason = new.failure_reason,
         sent_at = new.sent_at, updated_at = new.updated_at
     from"
);

pub(super) async fn save_messages<S: Session>(tx: &mut S, rows: &[MessageRow]) -> Result<(), StoreError> {
    if rows.is_empty() {
        return Ok(());
    }
    let new = bulk::rows(rows)
        .id("id", |row| row.id)
        .text("status", |row| row.status.as_str())
        .number("version", |row| row.version)
        .number("delivered", |row| row.tally.delivered.into())
        .number("failed", |row| row.tally.failed.into())
        .number("unconfirmed", |row| row.tally.unconfirmed.into())
        .number("read", |row| row.tally.read.into())
        .number("cancelled", |row| row.tally.cancelled.into())
        .opt_text("cancelled_by", |row| row.cancelled_by.clone())
        .opt_text("failure_reason", |row| row.failure_reason.clone())
        .opt_time("sent_at", |row| row.sent_at)
        .time("updated_at", |row| row.updated_at)
        .build();
    let save = Statement::from(MESSAGES).push_rows(new).push(sql!(" where messages.id = new.id"));
    tx.execute(save).await.map(drop)
}
