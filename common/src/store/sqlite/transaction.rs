//! One write transaction: reads rows, writes them back. It is the only writer, so reading is locking.

use std::collections::HashSet;

use serde_json::json;
use sqlx::Sqlite;
use uuid::Uuid;

use super::{json as json_rows, json_ids, json_texts, millis};
use crate::store::columns::{read_all, select};
use crate::store::connections::Transaction;
use crate::store::ledger::{
    Ledger, Locking, MessageRow, OutboxEntry, ParkedRow, RecipientRow, Settled, WebhookRow,
};
use crate::store::{Overdue, StoreError};

/// A write transaction.
pub(in crate::store) type Tx = Transaction<Sqlite>;

impl Ledger for Tx {
    async fn known_events(&mut self, event_ids: &[&str]) -> Result<HashSet<String>, StoreError> {
        const SQL: &str = "select event_id from webhooks where event_id in (select value from json_each($1))";
        let ids: Vec<String> =
            sqlx::query_scalar(SQL).bind(json_texts(event_ids)).fetch_all(self.connection()?).await?;
        Ok(ids.into_iter().collect())
    }

    async fn find_recipients(
        &mut self,
        provider_ids: &[&str],
        ids: &[Uuid],
    ) -> Result<Vec<RecipientRow>, StoreError> {
        if provider_ids.is_empty() && ids.is_empty() {
            return Ok(Vec::new());
        }
        const SQL: &str = concat!(
            select!(recipients, "where provider_id in (select value from json_each($1)) union "),
            select!(recipients, "where id in (select value from json_each($2))")
        );
        let query = sqlx::query(SQL).bind(json_texts(provider_ids)).bind(json_ids(ids));
        read_all(query.fetch_all(self.connection()?).await?)
    }

    async fn lock_messages(&mut self, ids: &[Uuid], _: Locking) -> Result<Vec<MessageRow>, StoreError> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        const SQL: &str = select!(messages, "where id in (select value from json_each($1))");
        read_all(sqlx::query(SQL).bind(json_ids(ids)).fetch_all(self.connection()?).await?)
    }

    async fn lock_recipients(&mut self, ids: &[Uuid], _: Locking) -> Result<Vec<RecipientRow>, StoreError> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        const SQL: &str = select!(recipients, "where id in (select value from json_each($1))");
        read_all(sqlx::query(SQL).bind(json_ids(ids)).fetch_all(self.connection()?).await?)
    }

    async fn find_overdue(&mut self, overdue: &Overdue) -> Result<Vec<RecipientRow>, StoreError> {
        // Without being told, it takes the unique index of provider ids and reads everybody who has none.
        const SQL: &str = select!(
            recipients,
            "where id in (
                 select id from (select id from recipients indexed by recipients_overdue
                      where attempted_at < $1 and rank < 4 and closed = 0 and provider_id is not null and ask_at is null
                      order by attempted_at limit $3)
                 union all
                 select id from (select id from recipients indexed by recipients_unresolved
                      where attempted_at < $2 and rank < 4 and closed = 0 and provider_id is null
                      order by attempted_at limit $3))"
        );
        let query = sqlx::query(SQL)
            .bind(millis(overdue.accepted_before))
            .bind(millis(overdue.unresolved_before))
            .bind(overdue.limit);
        read_all(query.fetch_all(self.connection()?).await?)
    }

    async fn save_recipients(&mut self, rows: &[RecipientRow]) -> Result<(), StoreError> {
        if rows.is_empty() {
            return Ok(());
        }
        const SQL: &str = "update recipients
             set rank = new.value ->> 'rank', closed = new.value ->> 'closed',
                 provider_id = new.value ->> 'provider_id', due_at = new.value ->> 'due_at',
                 attempted_at = new.value ->> 'attempted_at', tried = new.value ->> 'tried',
                 failure_code = new.value ->> 'failure_code', failure_reason = new.value ->> 'failure_reason',
                 delivered_at = new.value ->> 'delivered_at', failed_at = new.value ->> 'failed_at',
                 claim_id = new.value ->> 'claim_id', ask_at = new.value ->> 'ask_at'
             from json_each($1) as new
             where recipients.id = new.value ->> 'id'";
        let row = |r: &RecipientRow| {
            json!({
                "id": r.id,
                "rank": r.state.rank.as_i16(),
                "closed": i32::from(r.state.closed),
                "provider_id": r.provider_id,
                "due_at": millis(r.due_at),
                "attempted_at": r.attempted_at.map(millis),
                "tried": r.tried,
                "failure_code": r.failure.as_ref().map(|f| &f.code),
                "failure_reason": r.failure.as_ref().map(|f| &f.reason),
                "delivered_at": r.delivered_at.map(millis),
                "failed_at": r.failed_at.map(millis),
                "claim_id": r.claim_id,
                "ask_at": r.ask_at.map(millis),
            })
        };
        sqlx::query(SQL).bind(json_rows(rows.iter().map(row))).execute(self.connection()?).await?;
        Ok(())
    }

    async fn save_messages(&mut self, rows: &[MessageRow]) -> Result<(), StoreError> {
        if rows.is_empty() {
            return Ok(());
        }
        const SQL: &str = "update messages
             set status = new.value ->> 'status', version = new.value ->> 'version',
                 delivered_count = new.value ->> 'delivered', failed_count = new.value ->> 'failed',
                 unconfirmed_count = new.value ->> 'unconfirmed', read_count = new.value ->> 'read',
                 failure_reason = new.value ->> 'failure_reason', sent_at = new.value ->> 'sent_at',
                 updated_at = new.value ->> 'updated_at'
             from json_each($1) as new
             where messages.id = new.value ->> 'id'";
        let row = |r: &MessageRow| {
            json!({
                "id": r.id,
                "status": r.status.as_str(),
                "version": r.version,
                "delivered": r.tally.delivered,
                "failed": r.tally.failed,
                "unconfirmed": r.tally.unconfirmed,
                "read": r.tally.read,
                "failure_reason": r.failure_reason,
                "sent_at": r.sent_at.map(millis),
                "updated_at": millis(r.updated_at),
            })
        };
        sqlx::query(SQL).bind(json_rows(rows.iter().map(row))).execute(self.connection()?).await?;
        Ok(())
    }

    async fn append_outbox(&mut self, entries: &[OutboxEntry]) -> Result<(), StoreError> {
        if entries.is_empty() {
            return Ok(());
        }
        const SQL: &str =
            "insert into outbox (event_id, message_id, version, progress, subject, payload, created_at)
             select value ->> 'event_id', value ->> 'message_id', value ->> 'version', value ->> 'progress',
                    value ->> 'subject', value ->> 'payload', value ->> 'created_at'
             from json_each($1)
             order by key";
        let row = |e: &OutboxEntry| {
            json!({
                "event_id": e.event_id,
                "message_id": e.message_id,
                "version": e.version,
                "progress": i32::from(e.progress),
                "subject": e.subject,
                "payload": e.payload,
                "created_at": millis(e.created_at),
            })
        };
        sqlx::query(SQL).bind(json_rows(entries.iter().map(row))).execute(self.connection()?).await?;
        Ok(())
    }

    /// Row by row, since JSON carries no bytes; the statement is prepared once.
    async fn save_webhooks(&mut self, rows: &[WebhookRow<'_>]) -> Result<(), StoreError> {
        const SQL: &str =
            "insert into webhooks (event_id, event_type, deliveries, outcome, reason, recipient_id,
                                                 provider_id, report, occurred_at, received_at, body)
             values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
             on conflict (event_id) do update set deliveries = deliveries + excluded.deliveries";
        for row in rows {
            sqlx::query(SQL)
                .bind(&row.webhook.event_id)
                .bind(&row.webhook.event_type)
                .bind(row.deliveries)
                .bind(row.outcome.as_str())
                .bind(row.reason)
                .bind(row.recipient_id.map(|id| id.to_string()))
                .bind(row.provider_id())
                .bind(row.report())
                .bind(row.webhook.occurred_at.map(millis))
                .bind(millis(row.webhook.received_at))
                .bind(row.webhook.body.as_ref())
                .execute(self.connection()?)
                .await?;
        }
        Ok(())
    }

    async fn parked_for(&mut self, provider_ids: &[&str]) -> Result<Vec<ParkedRow>, StoreError> {
        if provider_ids.is_empty() {
            return Ok(Vec::new());
        }
        const SQL: &str = "select event_id, occurred_at, report from webhooks
             where outcome = 'parked' and provider_id in (select value from json_each($1)) order by event_id";
        read_all(sqlx::query(SQL).bind(json_texts(provider_ids)).fetch_all(self.connection()?).await?)
    }

    async fn parked_among(&mut self, event_ids: &[&str]) -> Result<Vec<ParkedRow>, StoreError> {
        const SQL: &str = "select event_id, occurred_at, report from webhooks
             where outcome = 'parked' and event_id in (select value from json_each($1)) order by event_id";
        read_all(sqlx::query(SQL).bind(json_texts(event_ids)).fetch_all(self.connection()?).await?)
    }

    async fn settle_parked(&mut self, settled: &[Settled]) -> Result<(), StoreError> {
        if settled.is_empty() {
            return Ok(());
        }
        const SQL: &str = "update webhooks
             set outcome = new.value ->> 'outcome', recipient_id = new.value ->> 'recipient_id', report = null
             from json_each($1) as new
             where webhooks.event_id = new.value ->> 'event_id'";
        let row = |s: &Settled| json!({"event_id": s.event_id, "outcome": s.outcome.as_str(), "recipient_id": s.recipient_id});
        sqlx::query(SQL).bind(json_rows(settled.iter().map(row))).execute(self.connection()?).await?;
        Ok(())
    }

    async fn commit(&mut self) -> Result<(), StoreError> {
        self.end().await
    }

    async fn roll_back(&mut self) -> Result<(), StoreError> {
        self.take_back().await
    }
}
