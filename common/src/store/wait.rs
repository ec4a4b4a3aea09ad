//! What the current call waits for, so that a time-out can say it.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

/// What a call waits for, so that a time-out can say it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// All connections are in use, or none can be made.
    Connection,
    /// Another process or connection writes to the SQLite file.
    WriteLock,
    /// Another transaction has locked the rows.
    RowLocks,
    /// The database works on a statement.
    Answer,
    /// The database makes a transaction durable.
    Commit,
}

impl fmt::Display for Wait {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Connection => "no free connection to the database",
            Self::WriteLock => {
                "the write lock of the SQLite file, held by another process or connection, was not free"
            }
            Self::RowLocks => "row locks, held by another transaction, were not free",
            Self::Answer => "no answer from the database",
            Self::Commit => "the database did not finish a commit",
        })
    }
}

/// What a call waits for at the moment.
#[derive(Clone)]
pub(super) struct Waiting(Arc<Mutex<Wait>>);

impl Waiting {
    /// A call begins by waiting for a connection.
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new(Wait::Connection)))
    }

    pub(super) fn now(&self) -> Wait {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs a call, which notes here what it waits for.
    pub(super) async fn during<T>(&self, call: impl Future<Output = T>) -> T {
        WAITING.scope(self.clone(), call).await
    }
}

tokio::task_local! {
    static WAITING: Waiting;
}

/// Notes what the current call waits for from now on.
pub(super) fn waits_for(wait: Wait) {
    // Outside of a call nothing has to be noted.
    let _ = WAITING.try_with(|waiting| *waiting.0.lock().unwrap_or_else(PoisonError::into_inner) = wait);
}
