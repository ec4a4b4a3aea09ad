//! The outbox as the relay sees it, retention, and the audit.

use time::OffsetDateTime;
use uuid::Uuid;

use super::Postgres;
use crate::event::timestamp::millis;
use crate::store::columns::{Read as _, read_all};
use crate::store::ledger::{Database as _, Ledger as _};
use crate::store::{Announced, Audit, OutboxRow, Prunable, StoreError, Superseded};

impl Postgres {
    pub(in crate::store) async fn waiting_events(&self, limit: u32) -> Result<Vec<OutboxRow>, StoreError> {
        const SQL: &str = "select position, event_id, message_id, progress, subject, payload from outbox
                           where stream_seq is null and superseded_at is null
                           order by position
                           limit $1";
        read_all(sqlx::query(SQL).bind(i64::from(limit)).fetch_all(&self.pool).await?)
    }

    pub(in crate::store) async fn last_announced(&self) -> Result<Option<Announced>, StoreError> {
        const SQL: &str = "select position, event_id, stream_seq from outbox
                           where stream_seq is not null order by stream_seq desc limit 1";
        sqlx::query(SQL).fetch_optional(&self.pool).await?.map(|row| Announced::read(&row)).transpose()
    }

    pub(in crate::store) async fn announced(&self, event_id: Uuid) -> Result<Option<Announced>, StoreError> {
        const SQL: &str = "select position, event_id, stream_seq from outbox where event_id = $1 and stream_seq is not null";
        sqlx::query(SQL)
            .bind(event_id)
            .fetch_optional(&self.pool)
            .await?
            .map(|row| Announced::read(&row))
            .transpose()
    }

    pub(in crate::store) async fn supersede(&self, rows: &[Superseded]) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        let positions: Vec<i64> = rows.iter().flat_map(|row| row.positions.iter().copied()).collect();
        sqlx::query(
            "update outbox set superseded_at = now() where position = any($1) and stream_seq is null",
        )
        .bind(positions)
        .execute(tx.connection()?)
        .await?;
        const SQL: &str = "update outbox o set payload = new.payload
                           from unnest($1::bigint[], $2::text[]) as new (position, payload)
                           where o.position = new.position";
        sqlx::query(SQL)
            .bind(rows.iter().map(|row| row.heir).collect::<Vec<_>>())
            .bind(rows.iter().map(|row| row.payload.as_str()).collect::<Vec<_>>())
            .execute(tx.connection()?)
            .await?;
        tx.commit().await
    }

    pub(in crate::store) async fn mark_announced(
        &self,
        rows: &[(i64, i64)],
        now: OffsetDateTime,
    ) -> Result<(), StoreError> {
        const SQL: &str = "update outbox o set stream_seq = new.stream_seq, announced_at = $3
                           from unnest($1::bigint[], $2::bigint[]) as new (position, stream_seq)
                           where o.position = new.position";
        sqlx::query(SQL)
            .bind(rows.iter().map(|row| row.0).collect::<Vec<_>>())
            .bind(rows.iter().map(|row| row.1).collect::<Vec<_>>())
            .bind(millis(now))
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    pub(in crate::store) async fn unannounce_above(
        &self,
        stream_seq: i64,
        limit: u32,
    ) -> Result<u64, StoreError> {
        const SQL: &str = "update outbox set stream_seq = null, announced_at = null where position in (
             select position from outbox where stream_seq > $1 order by stream_seq desc limit $2)";
        Ok(sqlx::query(SQL)
            .bind(stream_seq)
            .bind(i64::from(limit))
            .execute(&self.pool)
            .await?
            .rows_affected())
    }

    pub(in crate::store) async fn prune(
        &self,
        what: Prunable,
        before: OffsetDateTime,
        limit: u32,
    ) -> Result<u64, StoreError> {
        // Only the outbox's oldest rows are looked at. The row announced last stays: the relay fences with it.
        const EVENTS: &str = "delete from outbox
             where position in (select position from outbox order by position limit $2)
               and coalesce(announced_at, superseded_at) < $1
               and stream_seq is distinct from (select max(stream_seq) from outbox)";
        const WEBHOOKS: &str = "delete from webhooks where event_id in (
             select event_id from webhooks where received_at < $1 order by received_at limit $2)";
        const KEYS: &str = "delete from idempotency_keys where (church_id, key) in (
             select church_id, key from idempotency_keys where created_at < $1 order by created_at limit $2)";
        let sql = match what {
            Prunable::Events => EVENTS,
            Prunable::Webhooks => WEBHOOKS,
            Prunable::IdempotencyKeys => KEYS,
        };
        let query = sqlx::query(sql).bind(millis(before)).bind(i64::from(limit));
        Ok(query.execute(&self.pool).await?.rows_affected())
    }

    pub(in crate::store) async fn audit(&self) -> Result<Audit, StoreError> {
        const SQL: &str = "select
             (select coalesce(sum(deliveries), 0)::bigint from webhooks) as accepted,
             (select coalesce(sum(deliveries - 1), 0)::bigint from webhooks) as duplicate,
             (select count(*) from webhooks where outcome = 'applied') as applied,
             (select count(*) from webhooks where outcome = 'stale') as stale,
             (select count(*) from webhooks where outcome = 'parked') as parked,
             (select count(*) from webhooks where outcome = 'ignored') as ignored,
             (select count(*) from webhooks
              where (outcome in ('applied', 'stale')) <> (recipient_id is not null)) as unmatched,
             (select count(*) from outbox where stream_seq is null and superseded_at is null) as waiting,
             (select count(*) from messages m where exists (select 1 from outbox o where o.message_id = m.id)
                and m.version <> (select max(o.version) from outbox o where o.message_id = m.id)) as unannounced,
             (select count(*) from messages m join (
                 select message_id, count(*) as recipients,
                        count(*) filter (where rank >= 5) as delivered,
                        count(*) filter (where rank = 4) as failed,
                        count(*) filter (where rank < 4 and closed) as unconfirmed,
                        count(*) filter (where rank = 6) as read
                 from recipients group by message_id) r on r.message_id = m.id
              where (m.recipient_count, m.delivered_count, m.failed_count, m.unconfirmed_count, m.read_count)
                 <> (r.recipients, r.delivered, r.failed, r.unconfirmed, r.read)) as miscounted";
        // It reads everything, and takes the time it needs.
        let mut tx = self.begin().await?;
        sqlx::query("set local statement_timeout = 0").execute(tx.connection()?).await?;
        let audit = Audit::read(&sqlx::query(SQL).fetch_one(tx.connection()?).await?)?;
        tx.commit().await?;
        Ok(audit)
    }
}
