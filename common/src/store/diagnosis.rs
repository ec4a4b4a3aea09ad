//! The state of a database, for operators: its clock, its schema, the newest webhook.

use std::path::PathBuf;

use time::OffsetDateTime;

use super::columns::{Columns, Read};
use super::database::Database as _;
use super::failures::StoreError;
use super::handle::{Backend, Store, dispatch, on_either};
use super::records::SchemaState;
use super::session::only;
use super::sql::{Sql, sql};

/// A time that is always there.
struct Clock(OffsetDateTime);

impl Read for Clock {
    fn read(row: &impl Columns) -> Result<Self, StoreError> {
        row.time("value").map(Self)
    }
}

impl Store {
    /// The time by the database's clock.
    ///
    /// # Errors
    /// The database is away.
    pub async fn clock(&self) -> Result<OffsetDateTime, StoreError> {
        const CLOCK: Sql = Sql {
            postgres: "select clock_timestamp() as value",
            sqlite: "select cast(unixepoch('subsec') * 1000 as integer) as value",
        };
        let Clock(now) = only(dispatch!(self, db => db.fetch(CLOCK.into()).await)?)?;
        Ok(now)
    }

    /// Which migrations were run.
    ///
    /// # Errors
    /// The database is away, or has no schema at all.
    pub async fn schema(&self) -> Result<SchemaState, StoreError> {
        const NEWEST: Sql = sql!("select max(version) as value from _sqlx_migrations where success");
        let found = only(dispatch!(self, db => db.fetch(NEWEST.into()).await)?)?;
        let known = on_either!(self, db => db.newest_migration());
        Ok(SchemaState { found, known })
    }

    /// When the newest webhook came.
    ///
    /// # Errors
    /// The database is away.
    pub async fn last_webhook_at(&self) -> Result<Option<OffsetDateTime>, StoreError> {
        const LAST: Sql = sql!("select max(received_at) as value from webhooks where event_type <> 'asked'");
        only(dispatch!(self, db => db.fetch(LAST.into()).await)?)
    }

    /// The file of a SQLite database.
    pub fn file(&self) -> Option<PathBuf> {
        match &self.backend {
            Backend::Sqlite(db) => Some(db.file.clone()),
            Backend::Postgres(_) => None,
        }
    }
}
