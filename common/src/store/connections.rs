//! Connections to the database, and how long a call may have one.
//!
//! A pool of sqlx has one time-out for all callers, and reuses a connection whose caller gave up in the middle of a
//! statement. Here each call has its own limit ([`within`]), and a connection is reused only if its last statement has
//! certainly ended. Any other connection is closed, and with it its transaction and its locks.

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

/// Longest wait for a connection, beyond the limits of all calls.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// A connection that was idle for so long has to answer a ping before it is used.
const PING_AFTER: Duration = Duration::from_millis(100);
/// Time limit for a returned connection to answer a ping; otherwise it is closed.
const RETURN_LIMIT: Duration = Duration::from_secs(5);

/// The purpose of connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Requests, the relay, sweeps.
    Everything,
    /// Recording webhooks, whose time is short.
    Webhooks,
}

/// Runs a call, and ends it at the limit or once the server is known to be `away`. The error says what the call waited
/// for. A commit that was ended so may have succeeded.
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
    /// Older connections are replaced.
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

    /// Whether there was a commit after this moment.
    pub(super) fn is_after(&self, moment: Instant) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_some_and(|at| at > moment)
    }
}

impl<DB: Database> Connections<DB> {
    /// Connects at the first use, and then keeps the smallest number of connections ready.
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
            // It answered a ping when it was returned.
            .test_before_acquire(false)
            .before_acquire(move |connection: &mut DB::Connection, meta| {
                let renewed = *renewed.lock().unwrap_or_else(PoisonError::into_inner);
                let is_newer = renewed.is_none_or(|at| meta.age < at.elapsed());
                let is_fresh = meta.idle_for < PING_AFTER;
                Box::pin(async move { Ok(is_newer && (is_fresh || connection.ping().await.is_ok())) })
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

    /// Runs a statement as a transaction of its own. Returns how many rows it changed.
    pub(super) async fn execute(&self, statement: Statement<'_>) -> Result<u64, StoreError> {
        let mut checkout = self.acquire().await?;
        let done = statement.query::<DB>().execute(checkout.connection()?).await;
        checkout.give_back_after(&done);
        Ok(DB::changed(&done?))
    }
}

/// A connection in use. [`Checkout::give_back`] returns it to its pool; if dropped, it is closed.
pub(super) struct Checkout<DB: Database>(Option<PoolConnection<DB>>);

impl<DB: Database> Checkout<DB> {
    pub(super) fn connection(&mut self) -> Result<&mut DB::Connection, Error> {
        self.0.as_deref_mut().ok_or(Error::WorkerCrashed)
    }

    /// Returns the connection to its pool; nothing runs on it any more.
    pub(super) fn give_back(mut self) {
        if let Some(mut connection) = self.0.take() {
            tokio::spawn(timeout(RETURN_LIMIT, connection.return_to_pool()));
        }
    }

    /// Returns it if the result proves that the statement has ended.
    fn give_back_after<T>(self, result: &Result<T, Error>) {
        if matches!(result, Ok(_) | Err(Error::Database(_))) {
            self.give_back();
        }
    }
}

impl<DB: Database> Drop for Checkout<DB> {
    fn drop(&mut self) {
        // Detached at once, so that its replacement does not wait until it is closed.
        drop(self.0.take().map(PoolConnection::detach));
    }
}
