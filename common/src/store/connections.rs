//! Connections to the database, and how long a call may have one.
//!
//! A pool of sqlx has one time-out for everybody, and takes back a connection whose caller gave up in the middle of a
//! statement. Here each call has a limit of its own ([`within`]), and a connection goes back only when the last thing
//! done on it surely came to its end. Any other is closed, and with it its transaction and its locks.

use std::fmt;
use std::io;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt as _, TryStreamExt as _};
use sqlx::pool::{PoolConnection, PoolOptions};
use sqlx::{Connection, Database, Describe, Either, Error, Execute, Executor, Pool, SqlStr};
use tokio::time::timeout;

use super::StoreError;
use super::failures::is_busy;

/// Longest wait for a connection of anybody; each call waits for as long as its own limit.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// A connection that goes back is asked for a sign of life; it is closed if none comes so soon.
const RETURN_LIMIT: Duration = Duration::from_secs(5);

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

tokio::task_local! {
    static WAITING: Arc<Mutex<Wait>>;
}

/// Does a call, and gives it up after the limit, or as soon as the server is known to be `away`; the error says what it
/// was waiting for. A commit that is given up may stand.
pub(super) async fn within<T>(
    limit: Duration,
    away: impl Future<Output = ()>,
    call: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    let waiting = Arc::new(Mutex::new(Wait::Connection));
    let waited_for = || *waiting.lock().unwrap_or_else(PoisonError::into_inner);
    let given_up = tokio::select! {
        biased;
        done = timeout(limit, WAITING.scope(waiting.clone(), call)) => match done {
            Ok(done) => return done,
            Err(_) => StoreError::TimedOut { waited_for: waited_for(), limit },
        },
        () = away => StoreError::Unavailable(Error::Io(io::ErrorKind::ConnectionRefused.into())),
    };
    let may_stand = waited_for() == Wait::Commit;
    Err(if may_stand { StoreError::OutcomeUnknown(Box::new(given_up)) } else { given_up })
}

/// Notes what the call under way waits for from now on.
pub(super) fn waits_for(wait: Wait) {
    // Outside of a call nobody asks.
    let _ = WAITING.try_with(|waiting| *waiting.lock().unwrap_or_else(PoisonError::into_inner) = wait);
}

/// The connections of one pool. Used in sqlx's queries as its own pool would be.
pub(super) struct Connections<DB: Database> {
    pool: Pool<DB>,
    /// Connections made before are replaced.
    renewed_at: Arc<Mutex<Option<Instant>>>,
    committed_at: LastCommit,
}

impl<DB: Database> Clone for Connections<DB> {
    fn clone(&self) -> Self {
        let (renewed_at, committed_at) = (self.renewed_at.clone(), self.committed_at.clone());
        Self { pool: self.pool.clone(), renewed_at, committed_at }
    }
}

impl<DB: Database> fmt::Debug for Connections<DB> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Connections").finish_non_exhaustive()
    }
}

/// When a write transaction of this process was last committed.
#[derive(Debug, Clone, Default)]
pub(super) struct LastCommit(Arc<Mutex<Option<Instant>>>);

impl LastCommit {
    fn note(&self) {
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
    pub(super) async fn acquire(&self) -> Result<Lease<DB>, Error> {
        waits_for(Wait::Connection);
        let connection = self.pool.acquire().await?;
        waits_for(Wait::Answer);
        Ok(Lease(Some(connection)))
    }
}

/// A connection in use. It goes back by [`Lease::give_back`]; dropped, it is closed.
pub(super) struct Lease<DB: Database>(Option<PoolConnection<DB>>);

impl<DB: Database> Lease<DB> {
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
    fn settle<T>(self, result: &Result<T, Error>) {
        if matches!(result, Ok(_) | Err(Error::Database(_))) {
            self.give_back();
        }
    }
}

impl<DB: Database> Drop for Lease<DB> {
    fn drop(&mut self) {
        // Detached at once, so that its replacement need not wait until it is closed.
        drop(self.0.take().map(PoolConnection::detach));
    }
}

impl<'p, DB: Database> Executor<'p> for &'p Connections<DB>
where
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
{
    type Database = DB;

    fn fetch_many<'e, 'q: 'e, E>(
        self,
        query: E,
    ) -> BoxStream<'e, Result<Either<DB::QueryResult, DB::Row>, Error>>
    where
        'p: 'e,
        E: 'q + Execute<'q, DB>,
    {
        let all = async move {
            let mut lease = self.acquire().await?;
            let rows: Result<Vec<_>, Error> = lease.connection()?.fetch_many(query).try_collect().await;
            lease.settle(&rows);
            Ok::<_, Error>(stream::iter(rows?.into_iter().map(Ok)))
        };
        stream::once(all).try_flatten().boxed()
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, Result<Option<DB::Row>, Error>>
    where
        'p: 'e,
        E: 'q + Execute<'q, DB>,
    {
        Box::pin(async move {
            let mut lease = self.acquire().await?;
            let row = lease.connection()?.fetch_optional(query).await;
            lease.settle(&row);
            row
        })
    }

    fn prepare_with<'e>(
        self,
        sql: SqlStr,
        parameters: &'e [DB::TypeInfo],
    ) -> BoxFuture<'e, Result<DB::Statement, Error>>
    where
        'p: 'e,
    {
        Box::pin(async move {
            let mut lease = self.acquire().await?;
            let statement = lease.connection()?.prepare_with(sql, parameters).await;
            lease.settle(&statement);
            statement
        })
    }

    fn describe<'e>(self, sql: SqlStr) -> BoxFuture<'e, Result<Describe<DB>, Error>>
    where
        'p: 'e,
    {
        Box::pin(async move {
            let mut lease = self.acquire().await?;
            let described = lease.connection()?.describe(sql).await;
            lease.settle(&described);
            described
        })
    }
}

/// A write transaction on a connection of its own. If it does not surely end, its connection is closed.
pub(in crate::store) struct Transaction<DB: Database> {
    lease: Option<Lease<DB>>,
    committed_at: LastCommit,
}

impl<DB: Database> Transaction<DB>
where
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
{
    /// Begins one by a statement. Waits for SQLite's write lock as long as the call's limit lets it.
    pub(super) async fn begin(
        connections: &Connections<DB>,
        statement: &'static str,
        waits: Wait,
    ) -> Result<Self, StoreError> {
        let mut lease = connections.acquire().await?;
        waits_for(waits);
        loop {
            match lease.connection()?.execute(statement).await {
                Err(error) if is_busy(&error) => {}
                begun => break drop(begun?),
            }
        }
        waits_for(Wait::Answer);
        Ok(Self { lease: Some(lease), committed_at: connections.committed_at.clone() })
    }

    pub(super) fn connection(&mut self) -> Result<&mut DB::Connection, StoreError> {
        let lease = self.lease.as_mut().ok_or(Error::WorkerCrashed)?;
        Ok(lease.connection()?)
    }

    /// Makes it all true.
    pub(super) async fn end(&mut self) -> Result<(), StoreError> {
        waits_for(Wait::Commit);
        self.finish("COMMIT").await.map_err(StoreError::of_commit)?;
        self.committed_at.note();
        Ok(())
    }

    /// Takes it all back.
    pub(super) async fn take_back(&mut self) -> Result<(), StoreError> {
        Ok(self.finish("ROLLBACK").await?)
    }

    async fn finish(&mut self, statement: &'static str) -> Result<(), Error> {
        let Some(mut lease) = self.lease.take() else { return Ok(()) };
        lease.connection()?.execute(statement).await?;
        lease.give_back();
        Ok(())
    }
}
