//! What a transaction does about locks and limits of time.
//!
//! Locks are taken in one order everywhere: messages by id, then recipients by id, then webhooks by event id, then
//! paces by sender.

use super::columns::Read;
use super::failures::StoreError;
use super::session::Session;
use super::sql::{Sql, Statement};

/// What to do about rows that another transaction has locked. SQLite has one writer and no such rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Locking {
    /// Wait for them, as long as the connection's lock time-out.
    Wait,
    /// Leave them out.
    SkipLocked,
}

impl Locking {
    /// The statement for it.
    pub(super) fn choose(self, wait: Sql, skip: Sql) -> Sql {
        match self {
            Self::Wait => wait,
            Self::SkipLocked => skip,
        }
    }
}

/// A transaction as the store uses it. Rows that are read unlocked may change until they are locked.
pub(super) trait Ledger: Session {
    /// Locks rows and reads them.
    async fn lock<T: Read>(
        &mut self,
        statement: Statement<'_>,
        locking: Locking,
    ) -> Result<Vec<T>, StoreError>;
    /// Lets the statements that follow take the time they need.
    async fn lift_time_limit(&mut self) -> Result<(), StoreError>;
}
