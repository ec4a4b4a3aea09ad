//! What is deleted once it is old, a portion at a time.

use time::OffsetDateTime;

use super::{Backend, Store, StoreError};

/// Rows deleted at once, so that nobody waits long for them.
const PORTION: u32 = 500;

/// What is deleted once it is old.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prunable {
    /// Announced and superseded rows of the outbox, the one announced last excepted.
    Events,
    /// Webhooks, whatever became of them.
    Webhooks,
    /// Keys of repeatable requests.
    IdempotencyKeys,
    /// Finished messages and their recipients, by their last change. Pending ones stay.
    Messages,
    /// Revocations, by the time until which the revoked tokens were issued.
    Revocations,
}

impl Store {
    /// Deletes one portion of what is older than given. What waits is never deleted. Returns how many rows went; 0 once
    /// nothing is left. Several processes may do this at the same time.
    ///
    /// # Errors
    /// The database is away.
    pub async fn prune(&self, what: Prunable, before: OffsetDateTime) -> Result<u64, StoreError> {
        dispatch!(self, db => db.prune(what, before, PORTION).await)
    }
}

/// The first messages, as long as they have no more than `limit` recipients together; one at least.
pub(super) fn first_with<Id>(messages: Vec<(Id, i64)>, limit: u32) -> Vec<Id> {
    let mut recipients = 0;
    let fit = messages.into_iter().take_while(|(_, count)| {
        let is_first = recipients == 0;
        recipients += count;
        is_first || recipients <= i64::from(limit)
    });
    fit.map(|(id, _)| id).collect()
}
