//! What the store needs from a database: statements, alone or in a transaction.

use super::columns::Read;
use super::failures::StoreError;
use super::ledger::Ledger;
use super::sql::Statement;

/// A database. Each method waits for a free connection.
pub(super) trait Database {
    /// A transaction.
    type Tx: Ledger;

    /// Begins a transaction that may write.
    fn begin(&self) -> impl Future<Output = Result<Self::Tx, StoreError>> + Send;
    /// Begins a transaction that only reads, beside a writing one. End it by [`super::session::leave`].
    fn begin_reading(&self) -> impl Future<Output = Result<Self::Tx, StoreError>> + Send;
    /// Continues a reading transaction as a writing one, or, with a single writer, ends it and begins another one.
    fn begin_writing(&self, reading: Self::Tx) -> impl Future<Output = Result<Self::Tx, StoreError>> + Send;
    /// Reads outside of a transaction.
    fn fetch<T: Read>(
        &self,
        statement: Statement<'_>,
    ) -> impl Future<Output = Result<Vec<T>, StoreError>> + Send;
    /// Runs one statement that may be lost in a power cut: SQLite does not wait for the disk. Returns how many rows it
    /// changed.
    fn execute_unsynced(
        &self,
        statement: Statement<'_>,
    ) -> impl Future<Output = Result<u64, StoreError>> + Send;
    /// Replaces every connection before it is used again, and with it the statements prepared on it.
    fn renew(&self);
}
