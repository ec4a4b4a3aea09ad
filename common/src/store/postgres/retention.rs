//! Deletes what is old. Rows that another process is deleting are passed over.

use time::OffsetDateTime;
use uuid::Uuid;

use super::Postgres;
use crate::event::timestamp::millis;
use crate::store::ledger::{Database as _, Ledger as _};
use crate::store::retention::first_with;
use crate::store::{Prunable, StoreError};

impl Postgres {
    pub(in crate::store) async fn prune(
        &self,
        what: Prunable,
        before: OffsetDateTime,
        limit: u32,
    ) -> Result<u64, StoreError> {
        // Only the outbox's oldest rows are looked at. The row announced last stays: the relay fences with it.
        const EVENTS: &str = "delete from outbox
             where position in (select position from outbox order by position limit $2
                                for update skip locked)
               and coalesce(announced_at, superseded_at) < $1
               and stream_seq is distinct from
                   (select max(stream_seq) from outbox where stream_seq is not null)";
        const WEBHOOKS: &str = "delete from webhooks where event_id in (
             select event_id from webhooks where received_at < $1 order by received_at limit $2
             for update skip locked)";
        const KEYS: &str = "delete from idempotency_keys where (church_id, key) in (
             select church_id, key from idempotency_keys where created_at < $1 order by created_at limit $2
             for update skip locked)";
        const REVOCATIONS: &str = "delete from revocations where (church_id, user_id) in (
             select church_id, user_id from revocations where issued_until < extract(epoch from $1) limit $2
             for update skip locked)";
        let sql = match what {
            Prunable::Events => EVENTS,
            Prunable::Webhooks => WEBHOOKS,
            Prunable::IdempotencyKeys => KEYS,
            Prunable::Revocations => REVOCATIONS,
            Prunable::Messages => return self.prune_messages(before, limit).await,
        };
        let query = sqlx::query(sql).bind(millis(before)).bind(i64::from(limit));
        Ok(query.execute(&self.pool).await?.rows_affected())
    }

    /// The oldest finished messages that together have about `limit` recipients.
    async fn prune_messages(&self, before: OffsetDateTime, limit: u32) -> Result<u64, StoreError> {
        const OLD: &str = "select id, recipient_count from messages
             where status <> 'pending' and updated_at < $1 order by updated_at limit $2 for update skip locked";
        let mut tx = self.begin().await?;
        let query = sqlx::query_as::<_, (Uuid, i64)>(OLD).bind(millis(before)).bind(i64::from(limit));
        let old = query.fetch_all(tx.connection()?).await?;
        let ids = first_with(old, limit);
        for sql in
            ["delete from recipients where message_id = any($1)", "delete from messages where id = any($1)"]
        {
            sqlx::query(sql).bind(&ids).execute(tx.connection()?).await?;
        }
        tx.commit().await?;
        Ok(ids.len() as u64)
    }
}
