//! Locks and limits of time, which each database has in its own way.
//!
//! Locks are taken in one order everywhere: messages by id, then recipients by id, then webhooks by event id, then
//! paces by sender.

use super::columns::Read;
use super::failures::StoreError;
use super::session::Session;
use super::sql::{Sql, Statement, sql};

/// How to treat rows that another transaction has locked. SQLite has one writer and no such rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Locking {
    /// Wait for them, as long as the connection's lock time-out.
    Wait,
    /// Leave them out.
    SkipLocked,
}

impl Locking {
    /// The end of a statement that locks rows.
    pub(super) fn clause(self) -> Sql {
        match self {
            Self::Wait => sql!([lock]),
            Self::SkipLocked => sql!([skip locked]),
        }
    }
}

/// A transaction that can lock rows. Rows that were read without a lock may change until they are locked.
pub(super) trait Ledger: Session {
    /// Locks rows and reads them.
    async fn lock<T: Read>(
        &mut self,
        statement: Statement<'_>,
        locking: Locking,
    ) -> Result<Vec<T>, StoreError>;
    /// Lifts the time limit of the statements that follow.
    async fn lift_time_limit(&mut self) -> Result<(), StoreError>;
}
