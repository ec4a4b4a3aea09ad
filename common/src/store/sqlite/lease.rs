//! The relay's lease. What it says may be lost in a power cut, so it waits for no disk.

use std::fs::{File, TryLockError};
use std::sync::PoisonError;

use uuid::Uuid;

use super::{Sqlite, lock_file, unavailable};
use crate::store::StoreError;
use crate::store::columns::Columns as _;
use crate::store::lease::{LEASE, LeaseState, OFFER, Term};

impl Sqlite {
    pub(in crate::store) async fn lease_state(&self) -> Result<LeaseState, StoreError> {
        // A time that lies too far ahead was written before the clock was set back.
        const SQL: &str = "select
                 expires_at between unixepoch('subsec') * 1000 and unixepoch('subsec') * 1000 + 2 * $2 as held,
                 standby_ready_at between unixepoch('subsec') * 1000 - $1 and unixepoch('subsec') * 1000 + $1
                     as standby_ready
             from relay_lease";
        let query = sqlx::query(SQL).bind(OFFER.as_millis() as i64).bind(LEASE.as_millis() as i64);
        let row = query.fetch_one(&self.readers).await?;
        Ok(LeaseState { held: row.flag("held")?, standby_ready: row.flag("standby_ready")? })
    }

    pub(in crate::store) async fn take_lease(&self, holder: Uuid) -> Result<Option<Term>, StoreError> {
        // One that ends later than any lease can was written before the clock was set back.
        const SQL: &str = "update relay_lease
             set holder = $1, term = term + 1, standby_ready_at = 0,
                 expires_at = cast(unixepoch('subsec') * 1000 as integer) + $2
             where expires_at < unixepoch('subsec') * 1000 or expires_at > unixepoch('subsec') * 1000 + 2 * $2
             returning term";
        if !self.share_relay_lock()? {
            return Ok(None);
        }
        let query = sqlx::query_scalar(SQL).bind(holder.to_string()).bind(LEASE.as_millis() as i64);
        Ok(query.fetch_optional(&self.marker).await?.map(Term))
    }

    pub(in crate::store) async fn renew_lease(&self, term: Term) -> Result<bool, StoreError> {
        const SQL: &str = "update relay_lease
             set expires_at = cast(unixepoch('subsec') * 1000 as integer) + $2 where term = $1";
        let query = sqlx::query(SQL).bind(term.0).bind(LEASE.as_millis() as i64);
        Ok(query.execute(&self.marker).await?.rows_affected() > 0)
    }

    pub(in crate::store) async fn give_lease_up(&self, term: Term) -> Result<(), StoreError> {
        const SQL: &str = "update relay_lease set holder = null, expires_at = 0 where term = $1";
        self.shared_lock.lock().unwrap_or_else(PoisonError::into_inner).take();
        sqlx::query(SQL).bind(term.0).execute(&self.marker).await?;
        Ok(())
    }

    pub(in crate::store) async fn offer_to_relay(&self) -> Result<(), StoreError> {
        const SQL: &str =
            "update relay_lease set standby_ready_at = cast(unixepoch('subsec') * 1000 as integer)";
        sqlx::query(SQL).execute(&self.marker).await?;
        Ok(())
    }

    /// Shares the lock file that the versions before the lease take alone, so that none of them relays beside us.
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
