//! What a database gives to the store: statements, alone or in a transaction.

use super::columns::Read;
use super::failures::StoreError;
use super::ledger::Ledger;
use super::sql::Statement;

/// One database. Each method waits for a free connection.
pub(super) trait Database {
    /// A transaction.
    type Tx: Ledger;

    /// Begins a transaction that may write.
    fn begin(&self) -> impl Future<Output = Result<Self::Tx, StoreError>> + Send;
    /// Begins one that only reads, beside the one that writes. [`super::session::leave`] ends it.
    fn begin_reading(&self) -> impl Future<Output = Result<Self::Tx, StoreError>> + Send;
    /// Ends a reading transaction and begins one that may write; the same one, where the database has many writers.
    fn begin_writing(&self, reading: Self::Tx) -> impl Future<Output = Result<Self::Tx, StoreError>> + Send;
    /// Reads outside of a transaction.
    fn fetch<T: Read>(
        &self,
        statement: Statement<'_>,
    ) -> impl Future<Output = Result<Vec<T>, StoreError>> + Send;
    /// Does one statement that may be lost in a power cut: SQLite waits for no disk. Returns how many rows it changed.
    fn execute_unsynced(
        &self,
        statement: Statement<'_>,
    ) -> impl Future<Output = Result<u64, StoreError>> + Send;
    /// Replaces every connection before it is used again, and with it the statements prepared on it.
    fn renew(&self);
}
