//! The store in PostgreSQL: arrays in, sets out, one round trip for each step.

use std::str::FromStr as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sqlx::Row as _;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions, PgRow};
use time::OffsetDateTime;
use uuid::Uuid;

use super::StoreError;
use super::columns::Columns;
use super::ledger::Database;
use crate::service::ConfigError;

mod erasure;
mod lease;
mod ledger;
mod messages;
mod outbox;
mod retention;
mod revocations;
mod sending;

pub(super) use ledger::Tx;

/// Longest wait for a connection. Ingest answers within 1.5 s, whatever the database does.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(1);

/// A pool of connections.
#[derive(Clone)]
pub(super) struct Postgres {
    pool: PgPool,
    options: Arc<PgConnectOptions>,
    /// The connection that takes and renews the relay's lease.
    relaying: Arc<Mutex<Option<lease::RelayConnection>>>,
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
        Ok(Self { pool, options: Arc::new(options), relaying: Arc::default() })
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
}

impl Database for Postgres {
    type Tx = Tx;

    async fn begin(&self) -> Result<Tx, StoreError> {
        Ok(Tx::new(self.pool.begin().await?))
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

    fn number(&self, name: &str) -> Result<i64, StoreError> {
        Ok(self.try_get(name)?)
    }

    fn flag(&self, name: &str) -> Result<bool, StoreError> {
        Ok(self.try_get(name)?)
    }
}
