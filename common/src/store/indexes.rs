//! The large indexes of PostgreSQL. A service builds them beside its work, because a migration would hold up all writes
//! meanwhile. Without them everything is right, only slower.

use std::time::Duration;

use tracing::warn;

use super::failures::StoreError;
use super::handle::{Backend, Store};
use super::records::LargeIndex;

/// Pause after a failure.
const PAUSE: Duration = Duration::from_secs(60);

impl Store {
    /// Builds the large indexes that are missing, after another process has done with them. Takes as long as it needs.
    /// Does nothing in SQLite, whose migrations build all indexes.
    ///
    /// # Errors
    /// The database is away, or an index could not be built; all others were.
    pub async fn build_indexes(&self) -> Result<(), StoreError> {
        match &self.backend {
            Backend::Postgres(db) => db.build_indexes().await,
            Backend::Sqlite(_) => Ok(()),
        }
    }

    /// The large indexes that are not built yet.
    ///
    /// # Errors
    /// The database is away.
    pub async fn missing_indexes(&self) -> Result<Vec<LargeIndex>, StoreError> {
        match &self.backend {
            Backend::Postgres(db) => self.bounded(db.missing_indexes()).await,
            Backend::Sqlite(_) => Ok(Vec::new()),
        }
    }

    /// Tries until all indexes are there.
    pub(super) async fn complete_indexes(&self) {
        while let Err(error) = self.build_indexes().await {
            warn!(error = &error as &dyn std::error::Error, "indexes are missing; trying again in a minute");
            tokio::time::sleep(PAUSE).await;
        }
    }
}
