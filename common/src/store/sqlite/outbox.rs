//! The outbox as the relay sees it, retention, and the audit.

use serde_json::json;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{Sqlite, json as json_rows, millis};
use crate::store::columns::{Read as _, read_all};
use crate::store::ledger::Ledger as _;
use crate::store::{Announced, Audit, OutboxRow, Prunable, StoreError, Superseded};

impl Sqlite {
    pub(in crate::store) async fn waiting_events(&self, limit: u32) -> Result<Vec<OutboxRow>, StoreError> {
        const SQL: &str = "select position, event_id, message_id, progress, subject, payload from outbox
                           where stream_seq is null and superseded_at is null
                           order by position
                           limit $1";
        read_all(sqlx::query(SQL).bind(limit).fetch_all(&self.readers).await?)
    }

    pub(in crate::store) async fn last_announced(&self) -> Result<Option<Announced>, StoreError> {
        const SQL: &str = "select position, event_id, stream_seq from outbox
                           where stream_seq is not null order by stream_seq desc limit 1";
        sqlx::query(SQL).fetch_optional(&self.readers).await?.map(|row| Announced::read(&row)).transpose()
    }

    pub(in crate::store) async fn announced(&self, event_id: Uuid) -> Result<Option<Announced>, StoreError> {
        const SQL: &str = "select position, event_id, stream_seq from outbox where event_id = $1 and stream_seq is not null";
        let query = sqlx::query(SQL).bind(event_id.to_string());
        query.fetch_optional(&self.readers).await?.map(|row| Announced::read(&row)).transpose()
    }

    pub(in crate::store) async fn supersede(&self, rows: &[Superseded]) -> Result<(), StoreError> {
        const MARK: &str = "update outbox set superseded_at = $2
                            where position in (select value from json_each($1)) and stream_seq is null";
        const INHERIT: &str = "update outbox set payload = new.value ->> 'payload'
                               from json_each($1) as new
                               where outbox.position = new.value ->> 'position'";
        let positions = rows.iter().flat_map(|row| row.positions.iter().copied());
        let heirs = rows.iter().map(|row| json!({"position": row.heir, "payload": row.payload}));
        let mut tx = Self::begin_on(&self.marker).await?;
        sqlx::query(MARK)
            .bind(json_rows(positions.map(Into::into)))
            .bind(millis(OffsetDateTime::now_utc()))
            .execute(tx.connection()?)
            .await?;
        sqlx::query(INHERIT).bind(json_rows(heirs)).execute(tx.connection()?).await?;
        tx.commit().await
    }

    pub(in crate::store) async fn mark_announced(
        &self,
        rows: &[(i64, i64)],
        now: OffsetDateTime,
    ) -> Result<(), StoreError> {
        const SQL: &str = "update outbox set stream_seq = new.value ->> 1, announced_at = $2
                           from json_each($1) as new
                           where outbox.position = new.value ->> 0";
        let rows = json_rows(rows.iter().map(|(position, stream_seq)| json!([position, stream_seq])));
        sqlx::query(SQL).bind(rows).bind(millis(now)).execute(&self.marker).await?;
        Ok(())
    }

    pub(in crate::store) async fn unannounce_above(
        &self,
        stream_seq: i64,
        limit: u32,
    ) -> Result<u64, StoreError> {
        const SQL: &str = "update outbox set stream_seq = null, announced_at = null where position in (
             select position from outbox where stream_seq > $1 order by stream_seq desc limit $2)";
        Ok(sqlx::query(SQL).bind(stream_seq).bind(limit).execute(&self.marker).await?.rows_affected())
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
               and stream_seq is not (select max(stream_seq) from outbox)";
        const WEBHOOKS: &str = "delete from webhooks where event_id in (
             select event_id from webhooks where received_at < $1 order by received_at limit $2)";
        const KEYS: &str = "delete from idempotency_keys where (church_id, key) in (
             select church_id, key from idempotency_keys where created_at < $1 order by created_at limit $2)";
        let sql = match what {
            Prunable::Events => EVENTS,
            Prunable::Webhooks => WEBHOOKS,
            Prunable::IdempotencyKeys => KEYS,
        };
        let query = sqlx::query(sql).bind(millis(before)).bind(limit);
        Ok(query.execute(&self.marker).await?.rows_affected())
    }

    pub(in crate::store) async fn audit(&self) -> Result<Audit, StoreError> {
        const SQL: &str = "select
             (select coalesce(sum(deliveries), 0) from webhooks) as accepted,
             (select coalesce(sum(deliveries - 1), 0) from webhooks) as duplicate,
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
                        count(*) filter (where rank < 4 and closed = 1) as unconfirmed,
                        count(*) filter (where rank = 6) as read
                 from recipients group by message_id) r on r.message_id = m.id
              where (m.recipient_count, m.delivered_count, m.failed_count, m.unconfirmed_count, m.read_count)
                 <> (r.recipients, r.delivered, r.failed, r.unconfirmed, r.read)) as miscounted";
        Audit::read(&sqlx::query(SQL).fetch_one(&self.readers).await?)
    }
}
