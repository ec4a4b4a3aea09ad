//! The store in SQLite: one writer, readers beside it, sets as one JSON parameter.
//!
//! WAL with synchronous=FULL, because an answered webhook is a promise that survives a power cut. Every writing
//! transaction begins as IMMEDIATE: a deferred one fails at once when another process wrote meanwhile.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sqlx::Row as _;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteRow, SqliteSynchronous};
use time::OffsetDateTime;
use uuid::Uuid;

use super::StoreError;
use super::columns::{Columns, read_all};
use super::connections::{Connections, LastCommit, Wait};
use super::ledger::{Database, ParkedRow};

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

/// Longest wait inside SQLite for other transactions, where nobody can break it off. A transaction is begun again as
/// long as its call may wait.
const BUSY_TIMEOUT: Duration = Duration::from_millis(250);
/// The same for single statements of the relay, which are not repeated.
const MARKER_BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Between two tries to get the lock for bringing the schema up to date.
const MIGRATION_POLL: Duration = Duration::from_millis(50);
/// Readers beside the one writer.
const READERS: u32 = 4;

/// One database file.
#[derive(Clone)]
pub(super) struct Sqlite {
    file: PathBuf,
    writer: Connections<sqlx::Sqlite>,
    /// For what may be lost in a power cut, because the stream knows it, too: it waits for no disk.
    marker: Connections<sqlx::Sqlite>,
    readers: Connections<sqlx::Sqlite>,
    /// The lock file of the versions before the relay's lease, while we share it.
    shared_lock: Arc<Mutex<Option<File>>>,
}

impl Sqlite {
    pub(super) fn new(file: &str, committed_at: LastCommit) -> Self {
        let options = SqliteConnectOptions::new()
            .filename(file)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(BUSY_TIMEOUT)
            .foreign_keys(true);
        let pool = |connections, options| Connections::new(0..=connections, options, committed_at.clone());
        let marker = options.clone().synchronous(SqliteSynchronous::Normal).busy_timeout(MARKER_BUSY_TIMEOUT);
        Self {
            file: file.into(),
            writer: pool(1, options.clone().create_if_missing(true)),
            marker: pool(1, marker),
            readers: pool(READERS, options.read_only(true)),
            shared_lock: Arc::default(),
        }
    }

    pub(super) async fn migrate(&self) -> Result<(), StoreError> {
        let mut migrator = sqlx::migrate!("migrations/sqlite");
        migrator.set_ignore_missing(true);
        // SQLite has no lock that spans a migration, and the services start together.
        let _held = self.migration_lock().await?;
        let mut lease = self.writer.acquire().await?;
        migrator.run_direct(None, lease.connection()?, false).await.map_err(StoreError::Migration)?;
        lease.give_back();
        Ok(())
    }

    async fn migration_lock(&self) -> Result<File, StoreError> {
        let file = lock_file(&self.beside("migrate.lock")).map_err(unavailable)?;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(std::fs::TryLockError::WouldBlock) => tokio::time::sleep(MIGRATION_POLL).await,
                Err(std::fs::TryLockError::Error(error)) => return Err(unavailable(error)),
            }
        }
    }

    /// A write transaction. BEGIN takes the write lock, so that nothing in it has to wait any more.
    async fn begin_on(connections: &Connections<sqlx::Sqlite>) -> Result<Tx, StoreError> {
        Tx::begin(connections, "BEGIN IMMEDIATE", Wait::WriteLock).await
    }

    pub(super) async fn ping(&self) -> Result<(), StoreError> {
        sqlx::query("select count(*) from messages where id = ''").execute(&self.readers).await?;
        Ok(())
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
        Self::begin_on(&self.writer).await
    }

    async fn parked_after(&self, after: &str, limit: u32) -> Result<Vec<ParkedRow>, StoreError> {
        const SQL: &str = "select event_id, occurred_at, report from webhooks
             where outcome = 'parked' and event_id > $1 order by event_id limit $2";
        read_all(sqlx::query(SQL).bind(after).bind(limit).fetch_all(&self.readers).await?)
    }

    fn renew(&self) {
        for connections in [&self.writer, &self.marker, &self.readers] {
            connections.renew();
        }
    }

    async fn begin_reading(&self) -> Result<Tx, StoreError> {
        Tx::begin(&self.readers, "BEGIN", Wait::Answer).await
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::ledger::Ledger as _;

    async fn key(database: &Sqlite, key: usize, digest: Vec<u8>) -> Result<(), StoreError> {
        const SQL: &str = "insert into idempotency_keys (church_id, key, body_digest, message_id, created_at)
                           values ('grace', $1, $2, 'm', 0)";
        let mut tx = database.begin().await?;
        sqlx::query(SQL).bind(key.to_string()).bind(digest).execute(tx.connection()?).await?;
        tx.commit().await
    }

    #[tokio::test]
    async fn after_the_file_could_not_grow_the_next_write_finds_a_fresh_connection() {
        let folder = tempfile::TempDir::new().unwrap();
        let file = folder.path().join("church.db").display().to_string();
        let database = Sqlite::new(&file, LastCommit::default());
        database.migrate().await.unwrap();
        // As if the disk were full; it holds for this connection alone.
        let mut lease = database.writer.acquire().await.unwrap();
        let full = sqlx::query("pragma max_page_count = 1").execute(lease.connection().unwrap());
        full.await.unwrap();
        lease.give_back();
        let told = key(&database, 0, vec![0; 1 << 20]).await.unwrap_err();
        assert!(told.is_temporary(), "{told:?}");
        assert_eq!(told.to_string(), "the disk of the database is full");
        for number in 0..3 {
            key(&database, number, vec![0; 1 << 20]).await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_transaction_that_is_dropped_in_its_middle_holds_no_lock() {
        let folder = tempfile::TempDir::new().unwrap();
        let file = folder.path().join("church.db").display().to_string();
        let database = Sqlite::new(&file, LastCommit::default());
        database.migrate().await.unwrap();
        for number in 0..5 {
            drop(database.begin().await.unwrap());
            key(&database, number, Vec::new()).await.unwrap();
        }
    }
}
