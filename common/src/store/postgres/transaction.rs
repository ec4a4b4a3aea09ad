//! Locks and limits of time in PostgreSQL.

use sqlx::Postgres;

use crate::store::columns::Read;
use crate::store::failures::StoreError;
use crate::store::ledger::{Ledger, Locking};
use crate::store::session::Session as _;
use crate::store::sql::{Statement, sql};
use crate::store::transaction::Transaction;
use crate::store::wait::{Wait, waits_for};

impl Ledger for Transaction<Postgres> {
    async fn lock<T: Read>(
        &mut self,
        statement: Statement<'_>,
        locking: Locking,
    ) -> Result<Vec<T>, StoreError> {
        if locking == Locking::SkipLocked {
            // No row is waited for, but a table that is being altered may be.
            self.execute(sql!("set local lock_timeout = '1s'").into()).await?;
        }
        waits_for(Wait::RowLocks);
        let rows = self.fetch(statement).await;
        waits_for(Wait::Answer);
        rows
    }

    async fn lift_time_limit(&mut self) -> Result<(), StoreError> {
        self.execute(sql!("set local statement_timeout = 0").into()).await.map(drop)
    }
}
