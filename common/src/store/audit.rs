//! The audit: sums what was accepted and recounts what was counted.

use super::columns::{Columns, Read};
use super::database::Database;
use super::failures::StoreError;
use super::handle::{Store, on_either};
use super::ledger::Ledger;
use super::records::Audit;
use super::session::{leave, only};
use super::sql::{Sql, sql};

impl Store {
    /// Sums the webhooks and recounts the messages. Reads the whole database, without a time limit.
    ///
    /// # Errors
    /// The database is away.
    pub async fn audit(&self) -> Result<Audit, StoreError> {
        on_either!(self, db => audit(db).await)
    }
}

async fn audit<D: Database>(db: &D) -> Result<Audit, StoreError> {
    let mut tx = db.begin_reading().await?;
    let audited = sum(&mut tx).await;
    leave(tx, audited).await
}

async fn sum<L: Ledger>(tx: &mut L) -> Result<Audit, StoreError> {
    const SUM: Sql = sql!(
        "select
        (select cast(coalesce(sum(deliveries), 0) as bigint) from webhooks) as accepted,
        (select cast(coalesce(sum(deliveries - 1), 0) as bigint) from webhooks) as duplicate,
        (select count(*) from webhooks where outcome = 'applied') as applied,
        (select count(*) from webhooks where outcome = 'stale') as stale,
        (select count(*) from webhooks where outcome = 'parked') as parked,
        (select count(*) from webhooks where outcome = 'received') as received,
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
                   count(*) filter (where rank = 6) as read,
                   count(*) filter (where rank = 4 and failure_code = 'cancelled') as cancelled
            from recipients group by message_id) r on r.message_id = m.id
         where (m.recipient_count, m.delivered_count, m.failed_count, m.unconfirmed_count, m.read_count,
                m.cancelled_count)
            <> (r.recipients, r.delivered, r.failed, r.unconfirmed, r.read, r.cancelled)) as miscounted"
    );
    tx.lift_time_limit().await?;
    only(tx.fetch(SUM.into()).await?)
}

impl Read for Audit {
    fn read(row: &impl Columns) -> Result<Self, StoreError> {
        Ok(Self {
            accepted: row.number("accepted")?,
            applied: row.number("applied")?,
            duplicate: row.number("duplicate")?,
            stale: row.number("stale")?,
            parked: row.number("parked")?,
            received: row.number("received")?,
            ignored: row.number("ignored")?,
            unmatched_webhooks: row.number("unmatched")?,
            miscounted_messages: row.number("miscounted")?,
            unannounced_messages: row.number("unannounced")?,
            waiting_events: row.number("waiting")?,
            refused_events: row.number("refused")?,
        })
    }
}
