//! Errors of the store, and what the databases' codes mean.

use std::time::Duration;

use sqlx::Error;
use sqlx::error::DatabaseError;

use super::wait::Wait;

/// An error of the store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The time limit of the call ran out. Trying again later may help.
    #[error("{waited_for} within {limit:?}")]
    TimedOut {
        /// What the call waited for at the end.
        waited_for: Wait,
        /// The limit.
        limit: Duration,
    },
    /// The database is away, overloaded, full or locked. Trying again later may help.
    #[error("{}", reason(.0))]
    Unavailable(#[source] Error),
    /// Unknown whether the transaction was committed: the database's answer was lost or came too late.
    #[error("the database did not say whether it committed")]
    OutcomeUnknown(#[source] Box<StoreError>),
    /// The database refuses what it was given. Trying again does not help.
    #[error("the database refuses the data")]
    Refused(#[source] Error),
    /// The schema could not be brought up to date.
    #[error("the database's schema could not be brought up to date")]
    Migration(#[source] sqlx::migrate::MigrateError),
    /// Another process holds the relay's lease now. This process must stop relaying.
    #[error("another process relays the outbox now")]
    LeaseLost,
    /// A row holds what this version can't read.
    #[error("a row can't be read: {0}")]
    Unreadable(String),
}

impl StoreError {
    /// Whether the same call may succeed later.
    pub fn is_temporary(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::TimedOut { .. } | Self::OutcomeUnknown(_))
    }

    /// The error for a failed commit. If the database itself refused it, nothing was committed.
    pub(super) fn of_commit(error: Error) -> Self {
        let is_refused = error.as_database_error().is_some_and(refuses_commit);
        if is_refused { error.into() } else { Self::OutcomeUnknown(Box::new(error.into())) }
    }

    /// Whether the database gave up waiting for rows that another transaction has locked.
    pub(super) fn is_row_lock(&self) -> bool {
        matches!(self, Self::Unavailable(error) if has_code(error, "55P03"))
    }

    /// Whether a column's type changed under a statement that was prepared before.
    pub(super) fn is_stale_plan(&self) -> bool {
        matches!(self, Self::Unavailable(error) if has_code(error, "0A000"))
    }

    /// Whether the database rolled the transaction back, and repeating it at once may succeed.
    pub(super) fn may_be_repeated(&self) -> bool {
        self.is_stale_plan() || matches!(self, Self::Unavailable(error) if has_code(error, "40P01"))
    }
}

impl From<Error> for StoreError {
    fn from(error: Error) -> Self {
        match &error {
            Error::Database(database) if !is_passing(database.as_ref()) => Self::Refused(error),
            Error::Encode(_) => Self::Refused(error),
            // A newer version may have changed the column's type.
            Error::ColumnDecode { .. } | Error::Decode(_) => Self::Unreadable(error.to_string()),
            _ => Self::Unavailable(error),
        }
    }
}

/// Whether a database's own error passes by itself. It refuses data for good in the classes 22 (data), 23 (integrity)
/// and 54 (limits) of PostgreSQL, and with TOOBIG 18, CONSTRAINT 19, MISMATCH 20 and RANGE 25 of SQLite. All else, a
/// schema that is not there yet included, may pass.
fn is_passing(error: &dyn DatabaseError) -> bool {
    if let Some(code) = sqlite_code(error) {
        return !matches!(code, 18 | 19 | 20 | 25);
    }
    let Some(code) = error.code() else { return true };
    !["22", "23", "54"].iter().any(|class| code.starts_with(class))
}

/// Whether a database's own error says that a transaction was not committed. PostgreSQL's classes 08, 57 and 58 (the
/// connection, an operator, the system) don't; nor does SQLite, but for BUSY 5, LOCKED 6, FULL 13 and CONSTRAINT 19.
fn refuses_commit(error: &dyn DatabaseError) -> bool {
    if let Some(code) = sqlite_code(error) {
        return matches!(code, 5 | 6 | 13 | 19);
    }
    error.code().is_some_and(|code| !["08", "57", "58"].iter().any(|class| code.starts_with(class)))
}

/// SQLite's primary code; an extended one keeps it in its low byte.
fn sqlite_code(error: &dyn DatabaseError) -> Option<u32> {
    error.try_downcast_ref::<sqlx::sqlite::SqliteError>()?;
    error.code()?.parse().ok().map(|code: u32| code & 0xff)
}

fn has_code(error: &Error, code: &str) -> bool {
    error
        .as_database_error()
        .is_some_and(|error| sqlite_code(error).is_none() && error.code().is_some_and(|found| found == code))
}

/// Whether another connection has SQLite's write lock.
pub(super) fn is_busy(error: &Error) -> bool {
    error.as_database_error().and_then(sqlite_code) == Some(5)
}

fn reason(error: &Error) -> &'static str {
    match error {
        Error::PoolTimedOut => return "no free connection to the database",
        Error::Io(_) | Error::Tls(_) => return "no connection to the database",
        _ => {}
    }
    let Some(error) = error.as_database_error() else { return "the database is not available" };
    match sqlite_code(error) {
        Some(5) => return "the write lock of the SQLite file is held by another process or connection",
        Some(13) => return "the disk of the database is full",
        _ => {}
    }
    match error.code().as_deref() {
        Some("55P03") => "row locks, held by another transaction, were not free in time",
        Some("57014") => "the database did not finish a statement in time",
        Some("53100") => "the disk of the database is full",
        Some("53300") => "the database has no connection left",
        Some("40P01") => "two transactions waited for each other's rows",
        Some("0A000") => "a column changed under a prepared statement",
        _ => "the database is not available",
    }
}
