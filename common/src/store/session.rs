//! A transaction and its end.

use super::columns::Read;
use super::failures::StoreError;
use super::sql::Statement;

/// A transaction. If it is dropped before its end, it changes nothing and its connection is closed.
pub(super) trait Session: Sized + Send {
    /// Reads all rows of a statement.
    async fn fetch<T: Read>(&mut self, statement: Statement<'_>) -> Result<Vec<T>, StoreError>;
    /// Runs a statement. Returns how many rows it changed.
    async fn execute(&mut self, statement: Statement<'_>) -> Result<u64, StoreError>;
    /// Runs statements in one request. They concern different rows, and have no values but many rows.
    async fn execute_all(&mut self, statements: Vec<Statement<'_>>) -> Result<(), StoreError>;
    /// Commits it.
    async fn commit(self) -> Result<(), StoreError>;
    /// Rolls it back.
    async fn roll_back(self) -> Result<(), StoreError>;
}

/// Commits a transaction if its work succeeded, else rolls it back.
pub(super) async fn end<S: Session, T>(session: S, done: Result<T, StoreError>) -> Result<T, StoreError> {
    match done {
        Ok(done) => session.commit().await.map(|()| done),
        Err(error) => {
            // If that fails, the connection is closed, which rolls it back as well.
            let _ = session.roll_back().await;
            Err(error)
        }
    }
}

/// Rolls back a transaction that only read.
pub(super) async fn leave<S: Session, T>(session: S, done: Result<T, StoreError>) -> Result<T, StoreError> {
    // If that fails, the connection is closed, and the result is still right.
    let _ = session.roll_back().await;
    done
}

/// The only row of a statement that returns exactly one.
pub(super) fn only<T>(rows: Vec<T>) -> Result<T, StoreError> {
    rows.into_iter().next().ok_or(StoreError::Unavailable(sqlx::Error::RowNotFound))
}
