//! A writing transaction of SQLite is the only one, so it locks no rows.

use sqlx::Sqlite;

use crate::store::columns::Read;
use crate::store::failures::StoreError;
use crate::store::ledger::{Ledger, Locking};
use crate::store::session::Session as _;
use crate::store::sql::Statement;
use crate::store::transaction::Transaction;

impl Ledger for Transaction<Sqlite> {
    async fn lock<T: Read>(&mut self, statement: Statement<'_>, _: Locking) -> Result<Vec<T>, StoreError> {
        self.fetch(statement).await
    }

    async fn lift_time_limit(&mut self) -> Result<(), StoreError> {
        Ok(())
    }
}
