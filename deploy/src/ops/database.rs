//! The database that a command works on.

use common::store::{Store, StoreOptions};
use secrecy::SecretString;

/// Connections to PostgreSQL. A command makes one call after the other.
const CONNECTIONS: u32 = 2;

/// The variable of the address.
pub(super) const URL: &str = "DATABASE_URL";
/// What help says of it.
pub(super) const HELP: &str = "`sqlite:<file>` or `postgres://user:password@host/database`";

/// `DATABASE_URL`.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct DatabaseOptions {
    #[arg(long, env = URL, hide_env_values = true, value_name = "URL", help_heading = "Database", help = HELP)]
    database_url: SecretString,
}

impl DatabaseOptions {
    /// The database at an address.
    pub(super) fn at(database_url: SecretString) -> Self {
        Self { database_url }
    }

    /// The database with this many connections. It may be away.
    pub(super) fn store(&self, connections: u32) -> anyhow::Result<Store> {
        let options =
            StoreOptions { database_url: self.database_url.clone(), database_connections: connections };
        Ok(Store::new(&options)?)
    }

    /// Opens the database, and checks first that it answers.
    pub(super) async fn open(&self) -> anyhow::Result<Store> {
        let store = self.store(CONNECTIONS)?;
        store.check_reachable().await.map_err(|reason| anyhow::anyhow!("DATABASE_URL: {reason}"))?;
        Ok(store)
    }
}
