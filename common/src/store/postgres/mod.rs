//! The store in PostgreSQL: arrays in, sets out, one round trip for each step.

use std::str::FromStr as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgRow};
use sqlx::{Connection as _, PgConnection, Row as _};
use time::OffsetDateTime;
use uuid::Uuid;

use super::columns::{Columns, read_all};
use super::connections::{Connections, LastCommit, Wait};
use super::ledger::{Database, ParkedRow};
use super::{StoreError, Use};
use crate::service::ConfigError;

mod asking;
mod erasure;
mod lease;
mod messages;
mod outbox;
mod readiness;
mod retention;
mod revocations;
mod sending;
mod transaction;

pub(super) use transaction::Tx;

/// The advisory lock of the process that brings the schema up to date.
const MIGRATION_LOCK: i64 = 0x4348_5552_4d49;
/// Between two tries to get it. Waiting for it inside the server would be a statement, and those have a time-out.
const MIGRATION_POLL: Duration = Duration::from_millis(200);

/// The server's side of every connection: what waits for a lock, runs away or has lost its client is ended by the
/// server, so that its locks are free again.
const SESSION: [(&str, &str); 5] = [
    ("idle_in_transaction_session_timeout", "10s"),
    ("tcp_keepalives_idle", "5"),
    ("tcp_keepalives_interval", "3"),
    ("tcp_keepalives_count", "2"),
    ("tcp_user_timeout", "10000"),
];

/// How long a statement may run, and how long it may wait for a lock.
const fn time_outs(used: Use) -> [(&'static str, &'static str); 2] {
    match used {
        Use::Everything => [("statement_timeout", "10s"), ("lock_timeout", "5s")],
        Use::Webhooks => [("statement_timeout", "5s"), ("lock_timeout", "200ms")],
    }
}

/// A pool of connections.
#[derive(Clone)]
pub(super) struct Postgres {
    pool: Connections<sqlx::Postgres>,
    options: Arc<PgConnectOptions>,
    /// The connection that takes and renews the relay's lease.
    relaying: Arc<Mutex<Option<lease::RelayConnection>>>,
}

impl Postgres {
    pub(super) fn new(
        url: &str,
        connections: u32,
        used: Use,
        committed_at: LastCommit,
    ) -> Result<Self, ConfigError> {
        let options = PgConnectOptions::from_str(url)
            .map_err(|_| ConfigError::new("DATABASE_URL", "write postgres://user:password@host/database"))?
            .application_name("church-live")
            .options(SESSION)
            .options(time_outs(used));
        // A webhook must not wait until a connection is made.
        let ready = if used == Use::Webhooks { 1 } else { 0 };
        let pool = Connections::new(ready..=connections, options.clone(), committed_at);
        Ok(Self { pool, options: Arc::new(options), relaying: Arc::default() })
    }

    /// On a connection of its own: a migration may take as long as it needs, but it waits for no lock for long, since
    /// everybody else would wait behind it. Its caller tries again.
    pub(super) async fn migrate(&self) -> Result<(), StoreError> {
        let mut migrator = sqlx::migrate!("migrations/postgres");
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

    pub(super) async fn ping(&self) -> Result<(), StoreError> {
        sqlx::query("select 1").execute(&self.pool).await?;
        Ok(())
    }

    /// One attempt to connect past the pool, which tries on in silence while the server refuses.
    pub(super) async fn knock(&self) -> Result<(), StoreError> {
        Ok(PgConnection::connect_with(&self.options).await?.close().await?)
    }
}

impl Database for Postgres {
    type Tx = Tx;

    async fn begin(&self) -> Result<Tx, StoreError> {
        Tx::begin(&self.pool, "BEGIN", Wait::Answer).await
    }

    async fn parked_after(&self, after: &str, limit: u32) -> Result<Vec<ParkedRow>, StoreError> {
        const SQL: &str = "select event_id, occurred_at, report from webhooks
                           where outcome = 'parked' and event_id > $1 order by event_id limit $2";
        read_all(sqlx::query(SQL).bind(after).bind(i64::from(limit)).fetch_all(&self.pool).await?)
    }

    fn renew(&self) {
        self.pool.renew();
    }

    async fn begin_reading(&self) -> Result<Tx, StoreError> {
        self.begin().await
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
