//! The row by which a process proves that it can write.

use time::OffsetDateTime;
use uuid::Uuid;

use super::Postgres;
use crate::event::timestamp::millis;
use crate::store::StoreError;
use crate::store::ledger::{Database as _, Ledger as _};

impl Postgres {
    pub(in crate::store) async fn prove_writing(
        &self,
        process: Uuid,
        now: OffsetDateTime,
        gone_before: OffsetDateTime,
    ) -> Result<(), StoreError> {
        const WRITE: &str = "insert into writers (process_id, written_at) values ($1, $2)
             on conflict (process_id) do update set written_at = excluded.written_at";
        const TIDY: &str = "delete from writers where written_at < $1";
        let mut tx = self.begin().await?;
        sqlx::query(WRITE).bind(process).bind(millis(now)).execute(tx.connection()?).await?;
        sqlx::query(TIDY).bind(millis(gone_before)).execute(tx.connection()?).await?;
        tx.commit().await
    }
}
