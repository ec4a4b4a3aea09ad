//! The message or church that a command works on.

use anyhow::Context as _;
use common::store::{FoundMessage, Store};
use common::subject::ChurchId;

/// Says that nothing of a church is recorded, if that is so: its id may be mistyped.
pub(super) async fn unknown_church(store: &Store, church: &ChurchId) -> anyhow::Result<Option<String>> {
    let is_known = store.knows_church(church).await.context("can't look for the church")?;
    let says =
        || format!("nothing of the church {church} is recorded: no message, no text that came in, no sender");
    Ok((!is_known).then(says))
}

/// Finds a message by its own id, a recipient's id, or Telnyx's id.
pub(super) async fn found(store: &Store, id: &str) -> anyhow::Result<FoundMessage> {
    let found = store.find_message(id).await.context("can't look for the message")?;
    found.context("there is no such message; it may have been deleted (MESSAGE_RETENTION_DAYS)")
}
