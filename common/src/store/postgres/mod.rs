//! The store in PostgreSQL: arrays in, sets out, one round trip for each step.

use std::str::FromStr as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions, PgRow};
use sqlx::{Connection as _, PgConnection, Row as _};
use time::OffsetDateTime;
use uuid::Uuid;

use super::columns::Columns;
use super::ledger::Database;
use super::{RelayLock, StoreError};
use crate::service::ConfigError;

mod asking;
mod ledger;
mod messages;
mod outbox;
mod revocations;
mod sending;

pub(super) use ledger::Tx;

/// Longest wait for a connection. Ingest answers within 1.5 s, whatever the database does.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(1);
/// The advisory lock that makes a relay the only one.
const RELAY_LOCK: i64 = 0x4348_5552_4348;

/// A pool of connections.
#[derive(Clone)]
pub(super) struct Postgres {
    pool: PgPool,
    options: Arc<PgConnectOptions>,
    /// The connection that asks for the relay's lock while another process has it.
    standby: Arc<Mutex<Option<PgConnection>>>,
}

impl Postgres {
    pub(super) fn new(url: &str, connections: u32) -> Result<Self, ConfigError> {
        let options = PgConnectOptions::from_str(url)
            .map_err(|_| ConfigError::new("DATABASE_URL", "write postgres://user:password@host/database"))?
            .application_name("church-live")
            // A transaction that waits for a lock or runs away is ended by the server.
            .options([
                ("statement_timeout", "5s"),
                ("lock_timeout", "1s"),
                ("idle_in_transaction_session_timeout", "10s"),
            ]);
        let pool = PgPoolOptions::new()
            .max_connections(connections)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .connect_lazy_with(options.clone());
        Ok(Self { pool, options: Arc::new(options), standby: Arc::default() })
    }

    pub(super) async fn migrate(&self) -> Result<(), StoreError> {
        let mut migrator = sqlx::migrate!("migrations/postgres");
        migrator.set_ignore_missing(true);
        self.ping().await?;
        migrator.run(&self.pool).await.map_err(StoreError::Migration)
    }

    pub(super) async fn ping(&self) -> Result<(), StoreError> {
        sqlx::query("select 1").execute(&self.pool).await?;
        Ok(())
    }

    pub(super) async fn try_relay_lock(&self) -> Result<Option<RelayLock>, StoreError> {
        let standing_by = self.standby().take();
        let mut connection = match standing_by {
            Some(connection) => connection,
            None => PgConnection::connect_with(&self.options).await?,
        };
        let locked: bool = sqlx::query_scalar("select pg_try_advisory_lock($1)")
            .bind(RELAY_LOCK)
            .fetch_one(&mut connection)
            .await?;
        if locked {
            return Ok(Some(RelayLock::Postgres(AdvisoryLock { connection })));
        }
        *self.standby() = Some(connection);
        Ok(None)
    }

    fn standby(&self) -> std::sync::MutexGuard<'_, Option<PgConnection>> {
        self.standby.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Database for Postgres {
    type Tx = Tx;

    async fn begin(&self) -> Result<Tx, StoreError> {
        Ok(Tx::new(self.pool.begin().await?))
    }

    async fn begin_reading(&self) -> Result<Tx, StoreError> {
        self.begin().await
    }
}

/// An advisory lock; it lives as long as its connection.
pub struct AdvisoryLock {
    connection: PgConnection,
}

impl AdvisoryLock {
    pub(super) async fn is_held(&mut self) -> bool {
        matches!(tokio::time::timeout(ACQUIRE_TIMEOUT, self.connection.ping()).await, Ok(Ok(())))
    }
}

impl Columns for PgRow {
    fn opt_id(&self, name: &str) -> Result<Option<Uuid>, StoreError> {
        Ok(self.try_get(name)?)
    }

    fn opt_time(&self, name: &str) -> Result<Option<OffsetDateTime>, StoreError> {
        Ok(self.try_get(name)?)
    }

    fn opt_text(&self, name: &str) -> Result<Option<String>, StoreError> {
        Ok(self.try_get(name)?)
    }

    fn opt_number(&self, name: &str) -> Result<Option<i64>, StoreError> {
        Ok(self.try_get(name)?)
    }

    fn fraction(&self, name: &str) -> Result<f64, StoreError> {
        Ok(self.try_get(name)?)
    }

    fn flag(&self, name: &str) -> Result<bool, StoreError> {
        Ok(self.try_get(name)?)
    }
}
