//! The database that a command works on.

use common::store::{Store, StoreOptions};

/// Opens the database, and checks first that it answers.
pub(super) async fn open(options: &StoreOptions) -> anyhow::Result<Store> {
    let store = Store::new(options)?;
    store.check_reachable().await.map_err(|reason| anyhow::anyhow!("DATABASE_URL: {reason}"))?;
    Ok(store)
}
