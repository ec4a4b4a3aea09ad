//! The outbox as the relay sees it, and the audit.

use serde_json::json;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{Sqlite, Tx, json as json_rows, millis};
use crate::store::columns::{Read as _, read_all};
use crate::store::lease::LEASE;
use crate::store::ledger::{Database as _, Ledger as _};
use crate::store::{Announced, Audit, OutboxRow, OutboxState, RefusedEvent, StoreError, Superseded, Term};

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

    pub(in crate::store) async fn outbox_state(&self) -> Result<OutboxState, StoreError> {
        const SQL: &str = "select count(*) as waiting,
             coalesce((select cast(unixepoch('subsec') * 1000 as integer) - created_at from outbox
                       where stream_seq is null and superseded_at is null order by position limit 1), 0) as oldest_ms,
             (select count(*) from refused_events) as refused,
             exists (select 1 from relay_lease where expires_at between unixepoch('subsec') * 1000
                     and unixepoch('subsec') * 1000 + 2 * $1) as led
             from outbox where stream_seq is null and superseded_at is null";
        OutboxState::read(&sqlx::query(SQL).bind(LEASE.as_millis() as i64).fetch_one(&self.readers).await?)
    }

    pub(in crate::store) async fn supersede(
        &self,
        term: Term,
        rows: &[Superseded],
    ) -> Result<(), StoreError> {
        const MARK: &str = "update outbox set superseded_at = $2
                            where position in (select value from json_each($1)) and stream_seq is null";
        const INHERIT: &str = "update outbox set payload = new.value ->> 'payload'
                               from json_each($1) as new
                               where outbox.position = new.value ->> 'position'";
        let positions = rows.iter().flat_map(|row| row.positions.iter().copied());
        let heirs = rows.iter().map(|row| json!({"position": row.heir, "payload": row.payload}));
        let mut tx = self.fenced(term).await?;
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
        term: Term,
        rows: &[(i64, i64)],
        now: OffsetDateTime,
    ) -> Result<(), StoreError> {
        const SQL: &str = "update outbox set stream_seq = new.value ->> 1, announced_at = $2
                           from json_each($1) as new
                           where outbox.position = new.value ->> 0";
        let rows = json_rows(rows.iter().map(|(position, stream_seq)| json!([position, stream_seq])));
        let mut tx = self.fenced(term).await?;
        sqlx::query(SQL).bind(rows).bind(millis(now)).execute(tx.connection()?).await?;
        tx.commit().await
    }

    pub(in crate::store) async fn unannounce_above(
        &self,
        term: Term,
        stream_seq: i64,
        limit: u32,
    ) -> Result<u64, StoreError> {
        const SQL: &str = "update outbox set stream_seq = null, announced_at = null where position in (
             select position from outbox where stream_seq > $1 order by stream_seq desc limit $2)";
        let mut tx = self.fenced(term).await?;
        let rows = sqlx::query(SQL).bind(stream_seq).bind(limit).execute(tx.connection()?).await?;
        tx.commit().await?;
        Ok(rows.rows_affected())
    }

    pub(in crate::store) async fn set_refused(
        &self,
        term: Term,
        position: i64,
        reason: &str,
    ) -> Result<(), StoreError> {
        const KEEP: &str = "insert into refused_events
                 (event_id, message_id, version, progress, subject, payload, created_at, refused_at, reason)
             select event_id, message_id, version, progress, subject, payload, created_at, $2, $3
             from outbox where position = $1 and stream_seq is null";
        const TAKE_OUT: &str = "delete from outbox where position = $1 and stream_seq is null";
        let mut tx = self.fenced(term).await?;
        sqlx::query(KEEP)
            .bind(position)
            .bind(millis(OffsetDateTime::now_utc()))
            .bind(reason)
            .execute(tx.connection()?)
            .await?;
        sqlx::query(TAKE_OUT).bind(position).execute(tx.connection()?).await?;
        tx.commit().await
    }

    pub(in crate::store) async fn refused_events(&self, limit: u32) -> Result<Vec<RefusedEvent>, StoreError> {
        const SQL: &str = "select event_id, message_id, subject, reason from refused_events
                           order by refused_at, event_id limit $1";
        read_all(sqlx::query(SQL).bind(limit).fetch_all(&self.readers).await?)
    }

    pub(in crate::store) async fn retry_refused(&self, event_id: Option<Uuid>) -> Result<u64, StoreError> {
        const PUT_BACK: &str =
            "insert into outbox (event_id, message_id, version, progress, subject, payload, created_at)
             select event_id, message_id, version, progress, subject, payload, created_at from refused_events
             where $1 is null or event_id = $1 order by created_at, version";
        const TAKE_OUT: &str = "delete from refused_events where $1 is null or event_id = $1";
        let event_id = event_id.map(|id| id.to_string());
        let mut tx = self.begin().await?;
        let rows = sqlx::query(PUT_BACK).bind(&event_id).execute(tx.connection()?).await?.rows_affected();
        sqlx::query(TAKE_OUT).bind(&event_id).execute(tx.connection()?).await?;
        tx.commit().await?;
        Ok(rows)
    }

    /// A transaction for changes that hold only in this term. It is the only writer, so nobody takes the lease over
    /// in its middle.
    async fn fenced(&self, term: Term) -> Result<Tx, StoreError> {
        const SQL: &str = "select count(*) from relay_lease where term = $1";
        let mut tx = Self::begin_on(&self.marker).await?;
        let held: i64 = sqlx::query_scalar(SQL).bind(term.0).fetch_one(tx.connection()?).await?;
        if held == 0 { Err(StoreError::LeaseLost) } else { Ok(tx) }
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
                and m.version <> (select max(o.version) from outbox o where o.message_id = m.id)
                and not exists (select 1 from refused_events r
                                where r.message_id = m.id and r.version = m.version)) as unannounced,
             (select count(*) from refused_events) as refused,
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
