//! One transaction, and how it ends.

use super::columns::Read;
use super::failures::StoreError;
use super::sql::Statement;

/// One transaction. Dropped without an end it changes nothing, and costs its connection.
pub(super) trait Session: Sized + Send {
    /// Reads all rows of a statement.
    async fn fetch<T: Read>(&mut self, statement: Statement<'_>) -> Result<Vec<T>, StoreError>;
    /// Does a statement. Returns how many rows it changed.
    async fn execute(&mut self, statement: Statement<'_>) -> Result<u64, StoreError>;
    /// Makes it all true.
    async fn commit(self) -> Result<(), StoreError>;
    /// Takes it all back.
    async fn roll_back(self) -> Result<(), StoreError>;
}

/// Ends a transaction as what was done in it ended: commits it, or takes it back.
pub(super) async fn end<S: Session, T>(session: S, done: Result<T, StoreError>) -> Result<T, StoreError> {
    match done {
        Ok(done) => session.commit().await.map(|()| done),
        Err(error) => {
            // If even that fails, the connection is closed, which takes it back as well.
            let _ = session.roll_back().await;
            Err(error)
        }
    }
}

/// Ends a transaction that changed nothing.
pub(super) async fn leave<S: Session, T>(session: S, done: Result<T, StoreError>) -> Result<T, StoreError> {
    // If that fails, the connection is closed; what was read was read.
    let _ = session.roll_back().await;
    done
}

/// The only row of a statement that returns exactly one.
pub(super) fn only<T>(rows: Vec<T>) -> Result<T, StoreError> {
    rows.into_iter().next().ok_or(StoreError::Unavailable(sqlx::Error::RowNotFound))
}
