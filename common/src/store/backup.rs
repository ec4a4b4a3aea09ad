//! A consistent copy of a SQLite file while services use it.

use std::fs::File;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode};
use sqlx::{ConnectOptions as _, Connection as _};

use super::database::Database as _;
use super::failures::StoreError;
use super::handle::{Backend, Store};
use super::sql::{Sql, sql};

/// Why there is no backup.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// PostgreSQL has a program of its own for that.
    #[error("this is for SQLite; PostgreSQL's own pg_dump backs PostgreSQL up")]
    Postgres,
    /// The file can't be written; most often it is there already.
    #[error("can't write the backup")]
    File(#[from] std::io::Error),
    /// The database can't be read, or the disk is full.
    #[error("can't read the database")]
    Store(#[from] StoreError),
    /// The copy is damaged.
    #[error("the backup is damaged: {0}")]
    Damaged(String),
}

impl Store {
    /// Writes a consistent copy of the SQLite file as of now, and checks it. Services go on meanwhile. Only the copy's
    /// owner can read it. Returns its size in bytes.
    ///
    /// # Errors
    /// See [`BackupError`]. The file is left, unless it was there before.
    pub async fn back_up(&self, to: &Path) -> Result<u64, BackupError> {
        const COPY: Sql = sql!("vacuum into $1");
        let Backend::Sqlite(db) = &self.backend else { return Err(BackupError::Postgres) };
        let file = File::options().write(true).create_new(true).mode(0o600).open(to)?;
        db.execute_unsynced(COPY.bind(to.to_string_lossy().into_owned())).await?;
        check(to).await?;
        file.sync_all()?;
        Ok(file.metadata()?.len())
    }
}

async fn check(file: &Path) -> Result<(), BackupError> {
    let unavailable = StoreError::from;
    // Stores read only files with a write-ahead log.
    let options = SqliteConnectOptions::new().filename(file).journal_mode(SqliteJournalMode::Wal);
    let mut connection = options.connect().await.map_err(unavailable)?;
    let checked = sqlx::query_scalar::<_, String>("pragma quick_check").fetch_one(&mut connection).await;
    let said = checked.map_err(unavailable)?;
    connection.close().await.map_err(unavailable)?;
    if said == "ok" { Ok(()) } else { Err(BackupError::Damaged(said)) }
}
