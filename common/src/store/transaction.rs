//! A transaction on a connection of its own.

use sqlx::{Database, Error, Executor};

use super::columns::{Read, read_all};
use super::connections::{Checkout, Connections, LastCommit};
use super::failures::{StoreError, is_busy};
use super::session::Session;
use super::sql::{Dialect, Statement};
use super::wait::{Wait, waits_for};

/// A transaction. Unless its end is certain, its connection is closed.
pub(super) struct Transaction<DB: Database> {
    checkout: Option<Checkout<DB>>,
    committed_at: LastCommit,
}

impl<DB: Database> Transaction<DB>
where
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
{
    /// Begins a transaction by a statement. Waits for SQLite's write lock as long as the call's limit allows.
    pub(super) async fn begin(
        connections: &Connections<DB>,
        statement: &'static str,
        waits: Wait,
    ) -> Result<Self, StoreError> {
        let mut checkout = connections.acquire().await?;
        let mut is_first = true;
        waits_for(waits);
        loop {
            match checkout.connection()?.execute(statement).await {
                Err(error) if is_busy(&error) => {}
                // The connection had died since it was returned; nothing ran on it.
                Err(Error::Io(_)) if is_first => {
                    checkout = connections.acquire().await?;
                    is_first = false;
                    waits_for(waits);
                }
                begun => break drop(begun?),
            }
        }
        waits_for(Wait::Answer);
        Ok(Self { checkout: Some(checkout), committed_at: connections.committed_at.clone() })
    }

    pub(super) fn connection(&mut self) -> Result<&mut DB::Connection, StoreError> {
        let checkout = self.checkout.as_mut().ok_or(Error::WorkerCrashed)?;
        Ok(checkout.connection()?)
    }

    async fn finish(&mut self, statement: &'static str) -> Result<(), Error> {
        let Some(mut checkout) = self.checkout.take() else { return Ok(()) };
        checkout.connection()?.execute(statement).await?;
        checkout.give_back();
        Ok(())
    }
}

impl<DB: Dialect> Session for Transaction<DB>
where
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
{
    async fn fetch<T: Read>(&mut self, statement: Statement<'_>) -> Result<Vec<T>, StoreError> {
        read_all(&statement.query::<DB>().fetch_all(self.connection()?).await?)
    }

    async fn execute(&mut self, statement: Statement<'_>) -> Result<u64, StoreError> {
        Ok(DB::changed(&statement.query::<DB>().execute(self.connection()?).await?))
    }

    async fn execute_all(&mut self, statements: Vec<Statement<'_>>) -> Result<(), StoreError> {
        if !statements.is_empty() {
            self.execute(Statement::merged(statements)).await?;
        }
        Ok(())
    }

    async fn commit(mut self) -> Result<(), StoreError> {
        waits_for(Wait::Commit);
        self.finish("COMMIT").await.map_err(StoreError::of_commit)?;
        self.committed_at.note();
        Ok(())
    }

    async fn roll_back(mut self) -> Result<(), StoreError> {
        Ok(self.finish("ROLLBACK").await?)
    }
}
