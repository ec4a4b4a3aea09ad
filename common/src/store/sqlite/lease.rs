//! The relay's lease. It may be lost in a power cut, so its changes do not wait for the disk.

use std::fs::{File, TryLockError};
use std::sync::PoisonError;

use uuid::Uuid;

use super::pool::{Sqlite, lock_file, unavailable};
use crate::store::failures::StoreError;
use crate::store::records::{LEASE_MS, Term};
use crate::store::sql::{Sql, sql};

impl Sqlite {
    pub(in crate::store) async fn take_lease(&self, holder: Uuid) -> Result<Option<Term>, StoreError> {
        // A lease that ends later than possible was written before the clock was set back.
        const TAKE: Sql = sql!(
            "update relay_lease
             set holder = $1, term = term + 1, standby_ready_at = 0,
                 expires_at = cast(unixepoch('subsec') * 1000 as integer) + $2
             where expires_at < unixepoch('subsec') * 1000 or expires_at > unixepoch('subsec') * 1000 + 2 * $2
             returning term as value"
        );
        if !self.share_relay_lock()? {
            return Ok(None);
        }
        let take = TAKE.bind(holder).bind(LEASE_MS);
        Ok(self.marker.fetch(take).await?.pop().map(Term))
    }

    pub(in crate::store) async fn renew_lease(&self, term: Term) -> Result<bool, StoreError> {
        const RENEW: Sql = sql!(
            "update relay_lease set expires_at = cast(unixepoch('subsec') * 1000 as integer) + $2 where term = $1"
        );
        Ok(self.marker.execute(RENEW.bind(term.0).bind(LEASE_MS)).await? > 0)
    }

    pub(in crate::store) async fn give_lease_up(&self, term: Term) -> Result<(), StoreError> {
        const END: Sql = sql!("update relay_lease set holder = null, expires_at = 0 where term = $1");
        self.shared_lock.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.marker.execute(END.bind(term.0)).await.map(drop)
    }

    /// Shares the lock file that older versions take exclusively, so that none of them relays at the same time.
    fn share_relay_lock(&self) -> Result<bool, StoreError> {
        let mut shared = self.shared_lock.lock().unwrap_or_else(PoisonError::into_inner);
        if shared.is_none() {
            let file: File = lock_file(&self.beside("relay.lock")).map_err(unavailable)?;
            match file.try_lock_shared() {
                Ok(()) => *shared = Some(file),
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(error)) => return Err(unavailable(error)),
            }
        }
        Ok(shared.is_some())
    }
}
