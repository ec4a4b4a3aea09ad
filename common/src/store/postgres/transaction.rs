//! One write transaction: locks and reads rows, writes them back.

use std::collections::HashSet;

use sqlx::{Executor as _, Postgres};
use uuid::Uuid;

use crate::event::timestamp::millis;
use crate::store::columns::{read_all, select};
use crate::store::connections::{Transaction, Wait, waits_for};
use crate::store::ledger::{
    Ledger, Locking, MessageRow, OutboxEntry, ParkedRow, RecipientRow, Settled, WebhookRow,
};
use crate::store::{Overdue, StoreError};

/// A write transaction.
pub(in crate::store) type Tx = Transaction<Postgres>;

impl Ledger for Tx {
    async fn known_events(&mut self, event_ids: &[&str]) -> Result<HashSet<String>, StoreError> {
        const SQL: &str = "select event_id from webhooks where event_id = any($1)";
        let ids: Vec<String> = sqlx::query_scalar(SQL).bind(event_ids).fetch_all(self.connection()?).await?;
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
        // Two index look-ups; an `or` over both columns may scan.
        const SQL: &str = concat!(
            select!(recipients, "where provider_id = any($1) union all "),
            select!(recipients, "where id = any($2) and not coalesce(provider_id = any($1), false)")
        );
        read_all(sqlx::query(SQL).bind(provider_ids).bind(ids).fetch_all(self.connection()?).await?)
    }

    async fn lock_messages(&mut self, ids: &[Uuid], locking: Locking) -> Result<Vec<MessageRow>, StoreError> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        if locking == Locking::SkipLocked {
            // No row is waited for any more; a table that is altered just now may be.
            self.connection()?.execute("set local lock_timeout = '1s'").await?;
        }
        const WAIT: &str = select!(messages, "where id = any($1) order by id for update");
        const SKIP: &str = select!(messages, "where id = any($1) order by id for update skip locked");
        waits_for(Wait::RowLocks);
        let sql = locking.choose(WAIT, SKIP);
        let rows = sqlx::query(sql).bind(ids).fetch_all(self.connection()?).await?;
        waits_for(Wait::Answer);
        read_all(rows)
    }

    async fn lock_recipients(
        &mut self,
        ids: &[Uuid],
        locking: Locking,
    ) -> Result<Vec<RecipientRow>, StoreError> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        const WAIT: &str = select!(recipients, "where id = any($1) order by id for update");
        const SKIP: &str = select!(recipients, "where id = any($1) order by id for update skip locked");
        waits_for(Wait::RowLocks);
        let sql = locking.choose(WAIT, SKIP);
        let rows = sqlx::query(sql).bind(ids).fetch_all(self.connection()?).await?;
        waits_for(Wait::Answer);
        read_all(rows)
    }

    async fn find_overdue(&mut self, overdue: &Overdue) -> Result<Vec<RecipientRow>, StoreError> {
        const SQL: &str = concat!(
            "(",
            select!(
                recipients,
                "where attempted_at < $1 and rank < 4 and not closed and provider_id is not null and ask_at is null
                 order by attempted_at limit $3) union all ("
            ),
            select!(
                recipients,
                "where attempted_at < $2 and rank < 4 and not closed and provider_id is null
                 order by attempted_at limit $3)"
            )
        );
        let query = sqlx::query(SQL)
            .bind(millis(overdue.accepted_before))
            .bind(millis(overdue.unresolved_before))
            .bind(i64::from(overdue.limit));
        read_all(query.fetch_all(self.connection()?).await?)
    }

    async fn save_recipients(&mut self, rows: &[RecipientRow]) -> Result<(), StoreError> {
        if rows.is_empty() {
            return Ok(());
        }
        const SQL: &str = "update recipients r
             set rank = new.rank, closed = new.closed, provider_id = new.provider_id, due_at = new.due_at,
                 attempted_at = new.attempted_at, tried = new.tried, failure_code = new.failure_code,
                 failure_reason = new.failure_reason, delivered_at = new.delivered_at, failed_at = new.failed_at,
                 claim_id = new.claim_id, ask_at = new.ask_at
             from unnest($1::uuid[], $2::bigint[], $3::boolean[], $4::text[], $5::timestamptz[], $6::timestamptz[],
                         $7::bigint[], $8::text[], $9::text[], $10::timestamptz[], $11::timestamptz[], $12::uuid[],
                         $13::timestamptz[])
                  as new (id, rank, closed, provider_id, due_at, attempted_at, tried, failure_code, failure_reason,
                          delivered_at, failed_at, claim_id, ask_at)
             where r.id = new.id";
        let column = |read: fn(&RecipientRow) -> Option<String>| rows.iter().map(read).collect::<Vec<_>>();
        sqlx::query(SQL)
            .bind(rows.iter().map(|r| r.id).collect::<Vec<_>>())
            .bind(rows.iter().map(|r| i64::from(r.state.rank.as_i16())).collect::<Vec<_>>())
            .bind(rows.iter().map(|r| r.state.closed).collect::<Vec<_>>())
            .bind(column(|r| r.provider_id.clone()))
            .bind(rows.iter().map(|r| millis(r.due_at)).collect::<Vec<_>>())
            .bind(rows.iter().map(|r| r.attempted_at.map(millis)).collect::<Vec<_>>())
            .bind(rows.iter().map(|r| i64::from(r.tried)).collect::<Vec<_>>())
            .bind(column(|r| r.failure.as_ref().map(|f| f.code.clone())))
            .bind(column(|r| r.failure.as_ref().map(|f| f.reason.clone())))
            .bind(rows.iter().map(|r| r.delivered_at.map(millis)).collect::<Vec<_>>())
            .bind(rows.iter().map(|r| r.failed_at.map(millis)).collect::<Vec<_>>())
            .bind(rows.iter().map(|r| r.claim_id).collect::<Vec<_>>())
            .bind(rows.iter().map(|r| r.ask_at.map(millis)).collect::<Vec<_>>())
            .execute(self.connection()?)
            .await?;
        Ok(())
    }

    async fn save_messages(&mut self, rows: &[MessageRow]) -> Result<(), StoreError> {
        if rows.is_empty() {
            return Ok(());
        }
        const SQL: &str = "update messages m
             set status = new.status, version = new.version, delivered_count = new.delivered,
                 failed_count = new.failed, unconfirmed_count = new.unconfirmed, read_count = new.read,
                 failure_reason = new.failure_reason, sent_at = new.sent_at, updated_at = new.updated_at
             from unnest($1::uuid[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[],
                         $8::text[], $9::timestamptz[], $10::timestamptz[])
                  as new (id, status, version, delivered, failed, unconfirmed, read, failure_reason, sent_at, updated_at)
             where m.id = new.id";
        let count =
            |read: fn(&MessageRow) -> i32| rows.iter().map(|r| i64::from(read(r))).collect::<Vec<_>>();
        sqlx::query(SQL)
            .bind(rows.iter().map(|r| r.id).collect::<Vec<_>>())
            .bind(rows.iter().map(|r| r.status.as_str()).collect::<Vec<_>>())
            .bind(rows.iter().map(|r| r.version).collect::<Vec<_>>())
            .bind(count(|r| r.tally.delivered))
            .bind(count(|r| r.tally.failed))
            .bind(count(|r| r.tally.unconfirmed))
            .bind(count(|r| r.tally.read))
            .bind(rows.iter().map(|r| r.failure_reason.clone()).collect::<Vec<_>>())
            .bind(rows.iter().map(|r| r.sent_at.map(millis)).collect::<Vec<_>>())
            .bind(rows.iter().map(|r| millis(r.updated_at)).collect::<Vec<_>>())
            .execute(self.connection()?)
            .await?;
        Ok(())
    }

    async fn append_outbox(&mut self, entries: &[OutboxEntry]) -> Result<(), StoreError> {
        if entries.is_empty() {
            return Ok(());
        }
        const SQL: &str =
            "insert into outbox (event_id, message_id, version, progress, subject, payload, created_at)
             select event_id, message_id, version, progress, subject, payload, created_at
             from unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::boolean[], $5::text[], $6::text[],
                         $7::timestamptz[])
                  with ordinality
                  as new (event_id, message_id, version, progress, subject, payload, created_at, place)
             order by place";
        sqlx::query(SQL)
            .bind(entries.iter().map(|e| e.event_id).collect::<Vec<_>>())
            .bind(entries.iter().map(|e| e.message_id).collect::<Vec<_>>())
            .bind(entries.iter().map(|e| e.version).collect::<Vec<_>>())
            .bind(entries.iter().map(|e| e.progress).collect::<Vec<_>>())
            .bind(entries.iter().map(|e| e.subject.as_str()).collect::<Vec<_>>())
            .bind(entries.iter().map(|e| e.payload.as_str()).collect::<Vec<_>>())
            .bind(entries.iter().map(|e| millis(e.created_at)).collect::<Vec<_>>())
            .execute(self.connection()?)
            .await?;
        Ok(())
    }

    async fn save_webhooks(&mut self, rows: &[WebhookRow<'_>]) -> Result<(), StoreError> {
        const SQL: &str = "insert into webhooks (event_id, event_type, deliveries, outcome, reason, recipient_id,
                                                 provider_id, report, occurred_at, received_at, body)
             select event_id, event_type, deliveries, outcome, reason, recipient_id, provider_id, report, occurred_at,
                    received_at, body
             from unnest($1::text[], $2::text[], $3::bigint[], $4::text[], $5::text[], $6::uuid[], $7::text[],
                         $8::text[], $9::timestamptz[], $10::timestamptz[], $11::bytea[])
                  as new (event_id, event_type, deliveries, outcome, reason, recipient_id, provider_id, report,
                          occurred_at, received_at, body)
             order by event_id
             on conflict (event_id) do update set deliveries = webhooks.deliveries + excluded.deliveries";
        sqlx::query(SQL)
            .bind(rows.iter().map(|r| r.webhook.event_id.as_str()).collect::<Vec<_>>())
            .bind(rows.iter().map(|r| r.webhook.event_type.as_str()).collect::<Vec<_>>())
            .bind(rows.iter().map(|r| r.deliveries).collect::<Vec<_>>())
            .bind(rows.iter().map(|r| r.outcome.as_str()).collect::<Vec<_>>())
            .bind(rows.iter().map(|r| r.reason.map(str::to_owned)).collect::<Vec<_>>())
            .bind(rows.iter().map(|r| r.recipient_id).collect::<Vec<_>>())
            .bind(rows.iter().map(|r| r.provider_id().map(str::to_owned)).collect::<Vec<_>>())
            .bind(rows.iter().map(WebhookRow::report).collect::<Vec<_>>())
            .bind(rows.iter().map(|r| r.webhook.occurred_at.map(millis)).collect::<Vec<_>>())
            .bind(rows.iter().map(|r| millis(r.webhook.received_at)).collect::<Vec<_>>())
            .bind(rows.iter().map(|r| r.webhook.body.as_ref()).collect::<Vec<_>>())
            .execute(self.connection()?)
            .await?;
        Ok(())
    }

    async fn parked_for(&mut self, provider_ids: &[&str]) -> Result<Vec<ParkedRow>, StoreError> {
        if provider_ids.is_empty() {
            return Ok(Vec::new());
        }
        const SQL: &str = "select event_id, occurred_at, report from webhooks
                           where outcome = 'parked' and provider_id = any($1) order by event_id";
        read_all(sqlx::query(SQL).bind(provider_ids).fetch_all(self.connection()?).await?)
    }

    async fn parked_among(&mut self, event_ids: &[&str]) -> Result<Vec<ParkedRow>, StoreError> {
        const SQL: &str = "select event_id, occurred_at, report from webhooks
                           where outcome = 'parked' and event_id = any($1) order by event_id for update";
        read_all(sqlx::query(SQL).bind(event_ids).fetch_all(self.connection()?).await?)
    }

    async fn settle_parked(&mut self, settled: &[Settled]) -> Result<(), StoreError> {
        if settled.is_empty() {
            return Ok(());
        }
        const SQL: &str = "update webhooks w
             set outcome = new.outcome, recipient_id = new.recipient_id, report = null
             from unnest($1::text[], $2::text[], $3::uuid[]) as new (event_id, outcome, recipient_id)
             where w.event_id = new.event_id";
        sqlx::query(SQL)
            .bind(settled.iter().map(|s| s.event_id.as_str()).collect::<Vec<_>>())
            .bind(settled.iter().map(|s| s.outcome.as_str()).collect::<Vec<_>>())
            .bind(settled.iter().map(|s| s.recipient_id).collect::<Vec<_>>())
            .execute(self.connection()?)
            .await?;
        Ok(())
    }

    async fn commit(&mut self) -> Result<(), StoreError> {
        self.end().await
    }

    async fn roll_back(&mut self) -> Result<(), StoreError> {
        self.take_back().await
    }
}
