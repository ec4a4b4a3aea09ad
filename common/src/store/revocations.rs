//! Revoked tokens. What stands in the record outlives the outbox and the stream.

use time::OffsetDateTime;

use super::{Backend, Store, StoreError, Term};
use crate::claims::Person;
use crate::revocation::Revocation;
use crate::subject::ChurchId;

impl Store {
    /// Records that tokens are revoked, and the news of it. An earlier revocation of later tokens stays in force.
    ///
    /// # Errors
    /// The database is away.
    pub async fn revoke(&self, revocation: &Revocation) -> Result<(), StoreError> {
        dispatch!(self, db => db.revoke(revocation).await)?;
        self.wake_relay(true);
        Ok(())
    }

    /// Takes back what stands under a revocation's key, and records the news of it. `false` if nothing stands there.
    ///
    /// # Errors
    /// The database is away.
    pub async fn undo_revocation(&self, revocation: &Revocation) -> Result<bool, StoreError> {
        let undone = dispatch!(self, db => db.undo_revocation(revocation).await)?;
        self.wake_relay(undone);
        Ok(undone)
    }

    /// What stands, of one church or of all.
    ///
    /// # Errors
    /// The database is away.
    pub async fn revocations(&self, church: Option<&ChurchId>) -> Result<Vec<Revocation>, StoreError> {
        dispatch!(self, db => db.revocations(church).await)
    }

    /// Tokens of a person of a church that were issued until this Unix second are revoked.
    ///
    /// # Errors
    /// The database is away.
    pub async fn revoked_until(&self, church: &ChurchId, person: &Person) -> Result<Option<i64>, StoreError> {
        dispatch!(self, db => db.revoked_until(church, person).await)
    }

    /// Puts the news of standing revocations into the outbox again, of those whose last news is older than given or
    /// was lost. Returns how many; `limit` at most.
    ///
    /// # Errors
    /// The database is away.
    pub async fn announce_revocations_again(
        &self,
        before: OffsetDateTime,
        limit: u32,
    ) -> Result<usize, StoreError> {
        let events = dispatch!(self, db => db.announce_revocations_again(before, limit).await)?;
        self.wake_relay(events > 0);
        Ok(events)
    }

    /// The stream lost news of revocations: all that stand are to be announced again.
    ///
    /// # Errors
    /// The database is away. Once the term is over it changes nothing.
    pub async fn unannounce_revocations(&self, term: Term) -> Result<(), StoreError> {
        dispatch!(self, db => db.unannounce_revocations(term).await)
    }
}
