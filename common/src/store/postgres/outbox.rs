//! The outbox as the relay sees it, and the audit.

use time::OffsetDateTime;
use uuid::Uuid;

use super::Postgres;
use crate::event::timestamp::millis;
use crate::store::columns::{Read as _, read_all};
use crate::store::lease::LEASE;
use crate::store::ledger::{Database as _, Ledger as _};
use crate::store::{Announced, Audit, OutboxRow, OutboxState, RefusedEvent, StoreError, Superseded, Term};

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

    pub(in crate::store) async fn outbox_state(&self) -> Result<OutboxState, StoreError> {
        const SQL: &str = "select count(*) as waiting,
             coalesce((select (extract(epoch from clock_timestamp() - created_at) * 1000)::bigint from outbox
                       where stream_seq is null and superseded_at is null order by position limit 1), 0) as oldest_ms,
             (select count(*) from refused_events) as refused,
             exists (select 1 from relay_lease where expires_at between clock_timestamp()
                      and clock_timestamp() + 2 * $1 * interval '1 second') as led
             from outbox where stream_seq is null and superseded_at is null";
        OutboxState::read(&sqlx::query(SQL).bind(LEASE.as_secs_f64()).fetch_one(&self.pool).await?)
    }

    // Each change is one statement, so that no lock outlives its process, and shares the lease's row, so that nobody
    // takes the lease over in its middle.

    pub(in crate::store) async fn supersede(
        &self,
        term: Term,
        rows: &[Superseded],
    ) -> Result<(), StoreError> {
        const SQL: &str = "with lease as (select term from relay_lease where term = $4 for share),
                left_out as (
                    update outbox o set superseded_at = now() from lease
                    where o.position = any($1) and o.stream_seq is null
                    returning 1)
             update outbox o set payload = new.payload
             from lease, unnest($2::bigint[], $3::text[]) as new (position, payload)
             where o.position = new.position";
        let positions: Vec<i64> = rows.iter().flat_map(|row| row.positions.iter().copied()).collect();
        let query = sqlx::query(SQL)
            .bind(positions)
            .bind(rows.iter().map(|row| row.heir).collect::<Vec<_>>())
            .bind(rows.iter().map(|row| row.payload.as_str()).collect::<Vec<_>>())
            .bind(term.0);
        self.fenced(term, query).await.map(drop)
    }

    pub(in crate::store) async fn mark_announced(
        &self,
        term: Term,
        rows: &[(i64, i64)],
        now: OffsetDateTime,
    ) -> Result<(), StoreError> {
        const SQL: &str = "with lease as (select term from relay_lease where term = $4 for share)
             update outbox o set stream_seq = new.stream_seq, announced_at = $3
             from lease, unnest($1::bigint[], $2::bigint[]) as new (position, stream_seq)
             where o.position = new.position";
        let query = sqlx::query(SQL)
            .bind(rows.iter().map(|row| row.0).collect::<Vec<_>>())
            .bind(rows.iter().map(|row| row.1).collect::<Vec<_>>())
            .bind(millis(now))
            .bind(term.0);
        self.fenced(term, query).await.map(drop)
    }

    pub(in crate::store) async fn unannounce_above(
        &self,
        term: Term,
        stream_seq: i64,
        limit: u32,
    ) -> Result<u64, StoreError> {
        const SQL: &str = "with lease as (select term from relay_lease where term = $3 for share)
             update outbox o set stream_seq = null, announced_at = null from lease
             where o.position in (
                 select position from outbox where stream_seq > $1 order by stream_seq desc limit $2)";
        self.fenced(term, sqlx::query(SQL).bind(stream_seq).bind(i64::from(limit)).bind(term.0)).await
    }

    pub(in crate::store) async fn set_refused(
        &self,
        term: Term,
        position: i64,
        reason: &str,
    ) -> Result<(), StoreError> {
        const SQL: &str = "with lease as (select term from relay_lease where term = $3 for share),
                refused as (
                    delete from outbox o using lease where o.position = $1 and o.stream_seq is null
                    returning o.event_id, o.message_id, o.version, o.progress, o.subject, o.payload, o.created_at)
             insert into refused_events
                 (event_id, message_id, version, progress, subject, payload, created_at, refused_at, reason)
             select event_id, message_id, version, progress, subject, payload, created_at, now(), $2 from refused";
        self.fenced(term, sqlx::query(SQL).bind(position).bind(reason).bind(term.0)).await.map(drop)
    }

    pub(in crate::store) async fn refused_events(&self, limit: u32) -> Result<Vec<RefusedEvent>, StoreError> {
        const SQL: &str = "select event_id, message_id, subject, reason from refused_events
                           order by refused_at, event_id limit $1";
        read_all(sqlx::query(SQL).bind(i64::from(limit)).fetch_all(&self.pool).await?)
    }

    pub(in crate::store) async fn retry_refused(&self, event_id: Option<Uuid>) -> Result<u64, StoreError> {
        const SQL: &str = "with back as (
                 delete from refused_events where $1::uuid is null or event_id = $1
                 returning event_id, message_id, version, progress, subject, payload, created_at)
             insert into outbox (event_id, message_id, version, progress, subject, payload, created_at)
             select event_id, message_id, version, progress, subject, payload, created_at from back
             order by created_at, version";
        Ok(sqlx::query(SQL).bind(event_id).execute(&self.pool).await?.rows_affected())
    }

    /// Makes a change that holds only in this term. Returns how many rows it changed.
    async fn fenced(
        &self,
        term: Term,
        change: sqlx::query::Query<'_, sqlx::Postgres, sqlx::postgres::PgArguments>,
    ) -> Result<u64, StoreError> {
        let rows = change.execute(&self.pool).await?.rows_affected();
        if rows == 0 {
            self.ensure_term(term).await?;
        }
        Ok(rows)
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
                and m.version <> (select max(o.version) from outbox o where o.message_id = m.id)
                and not exists (select 1 from refused_events r
                                where r.message_id = m.id and r.version = m.version)) as unannounced,
             (select count(*) from refused_events) as refused,
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
