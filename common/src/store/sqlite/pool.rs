//! Opens the SQLite file.
//!
//! WAL with synchronous=FULL, because an answered webhook must survive a power cut. Each writing transaction begins as
//! IMMEDIATE: a deferred one fails at once if another process wrote meanwhile.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};

use crate::store::columns::Read;
use crate::store::connections::{Connections, LastCommit};
use crate::store::database::Database;
use crate::store::failures::StoreError;
use crate::store::session::Session as _;
use crate::store::sql::{Statement, sql};
use crate::store::transaction::Transaction;
use crate::store::wait::Wait;

/// Longest wait inside SQLite for other transactions, which nothing can interrupt. A transaction is begun again as long
/// as its call may wait.
const BUSY_TIMEOUT: Duration = Duration::from_millis(250);
/// The same for single statements of the relay, which are not repeated.
const MARKER_BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// The same for the relay's transactions. SQLite looks for the write lock ever more seldom, at last every 100 ms. Where
/// webhooks hold it most of the time, the relay would miss it for up to a second. So it begins anew early.
const RELAY_BUSY_TIMEOUT: Duration = Duration::from_millis(8);
/// Pages of 4 KiB in the WAL after which a commit moves them into the file, each page once. A page that many commits
/// wrote is then moved less often; the WAL has about 16 MiB.
const CHECKPOINT_PAGES: &str = "4000";
/// Rows that SQLite's thread hands over without waiting for the reader; a batch of webhooks reads so many.
const ROW_BUFFER: usize = 512;
/// Pause between two attempts to take the migration lock.
const MIGRATION_POLL: Duration = Duration::from_millis(50);
/// Readers beside the one writer.
const READERS: u32 = 4;

fn migrations() -> sqlx::migrate::Migrator {
    sqlx::migrate!("migrations/sqlite")
}

/// One database file.
#[derive(Clone)]
pub(in crate::store) struct Sqlite {
    pub(in crate::store) file: PathBuf,
    writer: Connections<sqlx::Sqlite>,
    /// For changes that may be lost in a power cut, because the stream knows them, too. It does not wait for the disk.
    pub(super) marker: Connections<sqlx::Sqlite>,
    /// The same, for transactions of the relay, which are begun again.
    pub(super) relay: Connections<sqlx::Sqlite>,
    pub(super) readers: Connections<sqlx::Sqlite>,
    /// The lock file of the versions before the relay's lease, while we share it.
    pub(super) shared_lock: Arc<Mutex<Option<File>>>,
}

impl Sqlite {
    pub(in crate::store) fn new(file: &str, committed_at: LastCommit) -> Self {
        let options = SqliteConnectOptions::new()
            .filename(file)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(BUSY_TIMEOUT)
            .pragma("wal_autocheckpoint", CHECKPOINT_PAGES)
            .row_buffer_size(ROW_BUFFER)
            .foreign_keys(true);
        let pool = |connections, options| Connections::new(0..=connections, options, committed_at.clone());
        let unsynced = options.clone().synchronous(SqliteSynchronous::Normal);
        Self {
            file: file.into(),
            writer: pool(1, options.clone().create_if_missing(true)),
            marker: pool(1, unsynced.clone().busy_timeout(MARKER_BUSY_TIMEOUT)),
            relay: pool(1, unsynced.busy_timeout(RELAY_BUSY_TIMEOUT)),
            readers: pool(READERS, options.read_only(true)),
            shared_lock: Arc::default(),
        }
    }

    /// The newest migration that this program knows.
    pub(in crate::store) fn newest_migration(&self) -> i64 {
        migrations().iter().map(|migration| migration.version).max().unwrap_or(0)
    }

    pub(in crate::store) async fn migrate(&self) -> Result<(), StoreError> {
        let mut migrator = migrations();
        migrator.set_ignore_missing(true);
        // SQLite has no lock for a whole migration, and the services start together.
        let _held = self.migration_lock().await?;
        let mut checkout = self.writer.acquire().await?;
        migrator.run_direct(None, checkout.connection()?, false).await.map_err(StoreError::Migration)?;
        checkout.give_back();
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

    pub(in crate::store) async fn ping(&self) -> Result<(), StoreError> {
        self.readers.execute(sql!("select count(*) from messages where id = ''").into()).await.map(drop)
    }

    pub(super) fn beside(&self, suffix: &str) -> PathBuf {
        let mut path = self.file.clone().into_os_string();
        path.push(".");
        path.push(suffix);
        path.into()
    }
}

impl Database for Sqlite {
    type Tx = Transaction<sqlx::Sqlite>;

    async fn begin(&self) -> Result<Self::Tx, StoreError> {
        begin_on(&self.writer).await
    }

    async fn begin_reading(&self) -> Result<Self::Tx, StoreError> {
        Transaction::begin(&self.readers, "BEGIN", Wait::Answer).await
    }

    async fn begin_writing(&self, reading: Self::Tx) -> Result<Self::Tx, StoreError> {
        reading.roll_back().await?;
        self.begin().await
    }

    async fn fetch<T: Read>(&self, statement: Statement<'_>) -> Result<Vec<T>, StoreError> {
        self.readers.fetch(statement).await
    }

    async fn execute_unsynced(&self, statement: Statement<'_>) -> Result<u64, StoreError> {
        self.marker.execute(statement).await
    }

    fn renew(&self) {
        for connections in [&self.writer, &self.marker, &self.relay, &self.readers] {
            connections.renew();
        }
    }
}

/// Begins a writing transaction. BEGIN takes the write lock, so that none of its statements has to wait.
pub(super) async fn begin_on(
    connections: &Connections<sqlx::Sqlite>,
) -> Result<Transaction<sqlx::Sqlite>, StoreError> {
    Transaction::begin(connections, "BEGIN IMMEDIATE", Wait::WriteLock).await
}

pub(super) fn lock_file(path: &Path) -> std::io::Result<File> {
    File::options().create(true).truncate(false).write(true).open(path)
}

pub(super) fn unavailable(error: std::io::Error) -> StoreError {
    StoreError::Unavailable(sqlx::Error::Io(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn key(database: &Sqlite, key: usize, digest: Vec<u8>) -> Result<(), StoreError> {
        const SQL: &str = "insert into idempotency_keys (church_id, key, body_digest, message_id, created_at)
                           values ('grace', $1, $2, 'm', 0)";
        let mut tx = database.begin().await?;
        sqlx::query(SQL).bind(key.to_string()).bind(digest).execute(tx.connection()?).await?;
        tx.commit().await
    }

    #[tokio::test]
    async fn after_a_full_disk_the_next_write_gets_a_fresh_connection() {
        let folder = tempfile::TempDir::new().unwrap();
        let file = folder.path().join("church.db").display().to_string();
        let database = Sqlite::new(&file, LastCommit::default());
        database.migrate().await.unwrap();
        // Simulates a full disk for this connection.
        let mut checkout = database.writer.acquire().await.unwrap();
        let full = sqlx::query("pragma max_page_count = 1").execute(checkout.connection().unwrap());
        full.await.unwrap();
        checkout.give_back();
        let told = key(&database, 0, vec![0; 1 << 20]).await.unwrap_err();
        assert!(told.is_temporary(), "{told:?}");
        assert_eq!(told.to_string(), "the disk of the database is full");
        for number in 0..3 {
            key(&database, number, vec![0; 1 << 20]).await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_dropped_transaction_holds_no_lock() {
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
