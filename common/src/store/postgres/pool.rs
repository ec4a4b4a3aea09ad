//! Connects to PostgreSQL.

use std::str::FromStr as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection as _, PgConnection};

use crate::config::ConfigError;
use crate::store::columns::Read;
use crate::store::connections::{Connections, LastCommit, Purpose};
use crate::store::database::Database;
use crate::store::failures::StoreError;
use crate::store::sql::{Statement, sql};
use crate::store::transaction::Transaction;
use crate::store::wait::Wait;

/// The advisory lock of the process that runs migrations.
const MIGRATION_LOCK: i64 = 0x4348_5552_4d49;
/// Pause between two attempts to take it. Waiting inside the server would be a statement, which has a time-out.
const MIGRATION_POLL: Duration = Duration::from_millis(200);

/// Settings of each session: the server ends transactions that are idle, and connections that have lost their client,
/// so that their locks are released.
const SESSION: [(&str, &str); 5] = [
    ("idle_in_transaction_session_timeout", "10s"),
    ("tcp_keepalives_idle", "5"),
    ("tcp_keepalives_interval", "3"),
    ("tcp_keepalives_count", "2"),
    ("tcp_user_timeout", "10000"),
];

/// How long a statement may run, and how long it may wait for a lock.
const fn time_outs(purpose: Purpose) -> [(&'static str, &'static str); 2] {
    match purpose {
        Purpose::Everything => [("statement_timeout", "10s"), ("lock_timeout", "5s")],
        Purpose::Webhooks => [("statement_timeout", "5s"), ("lock_timeout", "200ms")],
    }
}

fn migrations() -> sqlx::migrate::Migrator {
    sqlx::migrate!("migrations/postgres")
}

/// A pool of connections.
#[derive(Clone)]
pub(in crate::store) struct Postgres {
    pub(super) pool: Connections<sqlx::Postgres>,
    pub(in crate::store) options: Arc<PgConnectOptions>,
    /// The connection of the relay's lease.
    pub(super) relaying: Arc<Mutex<Option<RelayConnection>>>,
}

impl Postgres {
    pub(in crate::store) fn new(
        url: &str,
        connections: u32,
        purpose: Purpose,
        committed_at: LastCommit,
    ) -> Result<Self, ConfigError> {
        let options = PgConnectOptions::from_str(url)
            .map_err(|_| ConfigError::new("DATABASE_URL", "write postgres://user:password@host/database"))?
            .application_name("church-live")
            .options(SESSION)
            .options(time_outs(purpose));
        // A webhook must not wait for a new connection.
        let ready = if purpose == Purpose::Webhooks { 1 } else { 0 };
        let pool = Connections::new(ready..=connections, options.clone(), committed_at);
        Ok(Self { pool, options: Arc::new(options), relaying: Arc::default() })
    }

    /// Runs pending migrations on a connection of their own. A migration has no time limit, but waits for locks only as
    /// long as any other statement, because all others would wait behind it. The caller tries again.
    /// The newest migration that this program knows.
    pub(in crate::store) fn newest_migration(&self) -> i64 {
        migrations().iter().map(|migration| migration.version).max().unwrap_or(0)
    }

    pub(in crate::store) async fn migrate(&self) -> Result<(), StoreError> {
        let mut migrator = migrations();
        migrator.set_ignore_missing(true).set_locking(false);
        let options = (*self.options).clone().options([("statement_timeout", "0")]);
        let mut connection = PgConnection::connect_with(&options).await?;
        let lock = || sqlx::query_scalar("select pg_try_advisory_lock($1)").bind(MIGRATION_LOCK);
        while !lock().fetch_one(&mut connection).await? {
            tokio::time::sleep(MIGRATION_POLL).await;
        }
        migrator.run_direct(None, &mut connection, false).await.map_err(StoreError::Migration)?;
        // The lock ends with the connection.
        Ok(connection.close().await?)
    }

    pub(in crate::store) async fn ping(&self) -> Result<(), StoreError> {
        self.pool.execute(sql!("select 1").into()).await.map(drop)
    }

    /// Tries once to connect outside of the pool, which keeps trying silently while the server refuses.
    pub(in crate::store) async fn knock(&self) -> Result<(), StoreError> {
        Ok(PgConnection::connect_with(&self.options).await?.close().await?)
    }
}

/// The connection of the relay's lease. It is kept only after a successful call, so a broken one is closed.
pub(super) struct RelayConnection {
    pub(super) connection: PgConnection,
    /// Whether it shares the advisory lock, so that no older version can relay.
    pub(super) shares_lock: bool,
}

impl Database for Postgres {
    type Tx = Transaction<sqlx::Postgres>;

    async fn begin(&self) -> Result<Self::Tx, StoreError> {
        Transaction::begin(&self.pool, "BEGIN", Wait::Answer).await
    }

    async fn begin_reading(&self) -> Result<Self::Tx, StoreError> {
        self.begin().await
    }

    async fn begin_writing(&self, reading: Self::Tx) -> Result<Self::Tx, StoreError> {
        Ok(reading)
    }

    async fn fetch<T: Read>(&self, statement: Statement<'_>) -> Result<Vec<T>, StoreError> {
        self.pool.fetch(statement).await
    }

    async fn execute_unsynced(&self, statement: Statement<'_>) -> Result<u64, StoreError> {
        self.pool.execute(statement).await
    }

    fn renew(&self) {
        self.pool.renew();
    }
}
