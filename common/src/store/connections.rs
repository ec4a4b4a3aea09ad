//! Connections to the database, and how long a call may have one.
//!
//! A pool of sqlx has one time-out for everybody, and takes back a connection whose caller gave up in the middle of a
//! statement. Here each call has a limit of its own ([`within`]), and a connection goes back only when the last thing
//! done on it surely came to its end. Any other is closed, and with it its transaction and its locks.

use std::io;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use sqlx::pool::{PoolConnection, PoolOptions};
use sqlx::{Connection, Database, Error, Executor, Pool};
use tokio::time::timeout;

use super::columns::{Read, read_all};
use super::failures::StoreError;
use super::sql::{Dialect, Statement};
use super::wait::{Wait, Waiting, waits_for};

/// Longest wait for a connection of anybody; each call waits for as long as its own limit.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// A connection that goes back is asked for a sign of life; it is closed if none comes so soon.
const RETURN_LIMIT: Duration = Duration::from_secs(5);

/// What connections are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Requests, the relay, sweeps.
    Everything,
    /// Recording webhooks, which have little time.
    Webhooks,
}

/// Does a call, and gives it up after the limit, or as soon as the server is known to be `away`; the error says what it
/// was waiting for. A commit that is given up may stand.
pub(super) async fn within<T>(
    limit: Duration,
    away: impl Future<Output = ()>,
    call: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    let waiting = Waiting::new();
    let given_up = tokio::select! {
        biased;
        done = timeout(limit, waiting.during(call)) => match done {
            Ok(done) => return done,
            Err(_) => StoreError::TimedOut { waited_for: waiting.now(), limit },
        },
        () = away => StoreError::Unavailable(Error::Io(io::ErrorKind::ConnectionRefused.into())),
    };
    let may_stand = waiting.now() == Wait::Commit;
    Err(if may_stand { StoreError::OutcomeUnknown(Box::new(given_up)) } else { given_up })
}

/// The connections of one pool.
pub(super) struct Connections<DB: Database> {
    pool: Pool<DB>,
    /// Connections made before are replaced.
    renewed_at: Arc<Mutex<Option<Instant>>>,
    pub(super) committed_at: LastCommit,
}

impl<DB: Database> Clone for Connections<DB> {
    fn clone(&self) -> Self {
        let (renewed_at, committed_at) = (self.renewed_at.clone(), self.committed_at.clone());
        Self { pool: self.pool.clone(), renewed_at, committed_at }
    }
}

/// When a write transaction of this process was last committed.
#[derive(Debug, Clone, Default)]
pub(super) struct LastCommit(Arc<Mutex<Option<Instant>>>);

impl LastCommit {
    pub(super) fn note(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// Whether there was one since.
    pub(super) fn is_after(&self, moment: Instant) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_some_and(|at| at > moment)
    }
}

impl<DB: Database> Connections<DB> {
    /// Connects when a connection is needed first, and keeps the smallest number ready from then on.
    pub(super) fn new(
        number: RangeInclusive<u32>,
        options: <DB::Connection as Connection>::Options,
        committed_at: LastCommit,
    ) -> Self {
        let renewed_at: Arc<Mutex<Option<Instant>>> = Arc::default();
        let renewed = renewed_at.clone();
        let pool = PoolOptions::new()
            .min_connections(*number.start())
            .max_connections(*number.end())
            .acquire_timeout(LONGEST_WAIT)
            .before_acquire(move |_, connection| {
                let renewed = *renewed.lock().unwrap_or_else(PoisonError::into_inner);
                let is_newer = renewed.is_none_or(|at| connection.age < at.elapsed());
                Box::pin(async move { Ok(is_newer) })
            })
            .connect_lazy_with(options);
        Self { pool, renewed_at, committed_at }
    }

    /// Replaces each connection before it is used again, and with it the statements prepared on it.
    pub(super) fn renew(&self) {
        *self.renewed_at.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// Waits for a connection.
    pub(super) async fn acquire(&self) -> Result<Checkout<DB>, Error> {
        waits_for(Wait::Connection);
        let connection = self.pool.acquire().await?;
        waits_for(Wait::Answer);
        Ok(Checkout(Some(connection)))
    }
}

impl<DB: Dialect> Connections<DB>
where
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
{
    /// Reads all rows of a statement.
    pub(super) async fn fetch<T: Read>(&self, statement: Statement<'_>) -> Result<Vec<T>, StoreError> {
        let mut checkout = self.acquire().await?;
        let rows = statement.query::<DB>().fetch_all(checkout.connection()?).await;
        checkout.give_back_after(&rows);
        read_all(&rows?)
    }

    /// Does a statement that is a transaction of its own. Returns how many rows it changed.
    pub(super) async fn execute(&self, statement: Statement<'_>) -> Result<u64, StoreError> {
        let mut checkout = self.acquire().await?;
        let done = statement.query::<DB>().execute(checkout.connection()?).await;
        checkout.give_back_after(&done);
        Ok(DB::changed(&done?))
    }
}

/// A connection in use. It goes back by [`Checkout::give_back`]; dropped, it is closed.
pub(super) struct Checkout<DB: Database>(Option<PoolConnection<DB>>);

impl<DB: Database> Checkout<DB> {
    pub(super) fn connection(&mut self) -> Result<&mut DB::Connection, Error> {
        self.0.as_deref_mut().ok_or(Error::WorkerCrashed)
    }

    /// Nothing is under way on it any more.
    pub(super) fn give_back(mut self) {
        if let Some(mut connection) = self.0.take() {
            tokio::spawn(timeout(RETURN_LIMIT, connection.return_to_pool()));
        }
    }

    /// Gives it back if the result proves that the database is done with what it was asked.
    fn give_back_after<T>(self, result: &Result<T, Error>) {
        if matches!(result, Ok(_) | Err(Error::Database(_))) {
            self.give_back();
        }
    }
}

impl<DB: Database> Drop for Checkout<DB> {
    fn drop(&mut self) {
        // Detached at once, so that its replacement need not wait until it is closed.
        drop(self.0.take().map(PoolConnection::detach));
    }
}
