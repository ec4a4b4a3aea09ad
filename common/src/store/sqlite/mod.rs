//! The store in SQLite: one writer, readers beside it, sets as one JSON parameter.
//!
//! WAL with synchronous=FULL, because an answered webhook is a promise that survives a power cut. Every writing
//! transaction begins as IMMEDIATE: a deferred one fails at once when another process wrote meanwhile.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::Row as _;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteRow, SqliteSynchronous,
};
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

/// Longest wait for the other processes' transactions. Ingest answers within 1.5 s.
const BUSY_TIMEOUT: Duration = Duration::from_secs(1);
/// Readers beside the one writer.
const READERS: u32 = 4;

/// One database file.
#[derive(Clone)]
pub(super) struct Sqlite {
    file: PathBuf,
    writer: SqlitePool,
    /// For what may be lost in a power cut, because the stream knows it, too: it waits for no disk.
    marker: SqlitePool,
    readers: SqlitePool,
}

impl Sqlite {
    pub(super) fn new(url: &str) -> Result<Self, ConfigError> {
        let file = url.trim_start_matches("sqlite:").trim_start_matches("//");
        if file.is_empty() || file.contains('?') || file.contains(":memory:") {
            return Err(ConfigError::new(
                "DATABASE_URL",
                "write sqlite:<file>: the services share a file on disk",
            ));
        }
        let options = SqliteConnectOptions::new()
            .filename(file)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(BUSY_TIMEOUT)
            .foreign_keys(true);
        let pool =
            |connections| SqlitePoolOptions::new().max_connections(connections).acquire_timeout(BUSY_TIMEOUT);
        Ok(Self {
            file: file.into(),
            writer: pool(1).connect_lazy_with(options.clone().create_if_missing(true)),
            marker: pool(1).connect_lazy_with(options.clone().synchronous(SqliteSynchronous::Normal)),
            readers: pool(READERS).connect_lazy_with(options.read_only(true)),
        })
    }

    pub(super) async fn migrate(&self) -> Result<(), StoreError> {
        let mut migrator = sqlx::migrate!("migrations/sqlite");
        migrator.set_ignore_missing(true);
        // SQLite has no lock that spans a migration, and the services start together.
        let path = self.beside("migrate.lock");
        let lock =
            tokio::task::spawn_blocking(move || lock_file(&path).and_then(|file| file.lock().map(|()| file)));
        let _held =
            lock.await.map_err(|_| unavailable(std::io::ErrorKind::Other.into()))?.map_err(unavailable)?;
        migrator.run(&self.writer).await.map_err(StoreError::Migration)
    }

    pub(super) async fn ping(&self) -> Result<(), StoreError> {
        sqlx::query("select count(*) from messages where id = ''").execute(&self.readers).await?;
        Ok(())
    }

    pub(super) async fn try_relay_lock(&self) -> Result<Option<RelayLock>, StoreError> {
        let file = lock_file(&self.beside("relay.lock")).map_err(unavailable)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(RelayLock::Sqlite(file))),
            Err(std::fs::TryLockError::WouldBlock) => Ok(None),
            Err(std::fs::TryLockError::Error(error)) => Err(unavailable(error)),
        }
    }

    fn beside(&self, suffix: &str) -> PathBuf {
        let mut path = self.file.clone().into_os_string();
        path.push(".");
        path.push(suffix);
        path.into()
    }
}

impl Database for Sqlite {
    type Tx = Tx;

    async fn begin(&self) -> Result<Tx, StoreError> {
        Ok(Tx::new(self.writer.begin_with("BEGIN IMMEDIATE").await?))
    }

    async fn begin_reading(&self) -> Result<Tx, StoreError> {
        Ok(Tx::new(self.readers.begin().await?))
    }
}

fn lock_file(path: &Path) -> std::io::Result<File> {
    File::options().create(true).truncate(false).write(true).open(path)
}

fn unavailable(error: std::io::Error) -> StoreError {
    StoreError::Unavailable(sqlx::Error::Io(error))
}

/// A moment as SQLite keeps it: milliseconds since 1970.
fn millis(at: OffsetDateTime) -> i64 {
    i64::try_from(at.unix_timestamp_nanos() / 1_000_000).unwrap_or(i64::MAX)
}

/// Rows as one JSON parameter for `json_each`.
fn json(rows: impl IntoIterator<Item = serde_json::Value>) -> String {
    serde_json::Value::Array(rows.into_iter().collect()).to_string()
}

/// Ids as one JSON parameter for `json_each`.
fn json_ids(ids: &[Uuid]) -> String {
    json(ids.iter().map(|id| serde_json::Value::String(id.to_string())))
}

/// Texts as one JSON parameter for `json_each`.
fn json_texts(texts: &[&str]) -> String {
    json(texts.iter().map(|text| (*text).into()))
}

impl Columns for SqliteRow {
    fn opt_id(&self, name: &str) -> Result<Option<Uuid>, StoreError> {
        let text: Option<String> = self.try_get(name)?;
        text.map(|text| text.parse().map_err(|_| StoreError::Unreadable(format!("{name} is no id"))))
            .transpose()
    }

    fn opt_time(&self, name: &str) -> Result<Option<OffsetDateTime>, StoreError> {
        let number: Option<i64> = self.try_get(name)?;
        let time = |ms: i64| OffsetDateTime::from_unix_timestamp_nanos(i128::from(ms) * 1_000_000);
        number.map(time).transpose().map_err(|_| StoreError::Unreadable(format!("{name} is no time")))
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
        Ok(self.number(name)? != 0)
    }
}
