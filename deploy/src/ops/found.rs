//! The message that a command works on.

use anyhow::Context as _;
use common::store::{FoundMessage, Store};

/// Finds a message by its own id, a recipient's id, or Telnyx's id.
pub(super) async fn found(store: &Store, id: &str) -> anyhow::Result<FoundMessage> {
    let found = store.find_message(id).await.context("can't look for the message")?;
    found.context("there is no such message; it may have been deleted (MESSAGE_RETENTION_DAYS)")
}
