//! The relay's lease, on a connection of its own, so that it does not wait for the pool.

use std::sync::PoisonError;

use sqlx::{Connection as _, PgConnection};
use uuid::Uuid;

use super::pool::{Postgres, RelayConnection};
use crate::store::failures::StoreError;
use crate::store::records::{LEASE_MS, Term};

/// The advisory lock of the versions before the lease. They take it exclusively; we share it, so that none of them
/// relays at the same time.
const RELAY_LOCK: i64 = 0x4348_5552_4348;

impl Postgres {
    pub(in crate::store) async fn take_lease(&self, holder: Uuid) -> Result<Option<Term>, StoreError> {
        // A lease that ends later than possible was written before the clock was set back.
        const SQL: &str = "update relay_lease
             set holder = $1, term = term + 1, standby_ready_at = 'epoch',
                 expires_at = clock_timestamp() + $2 * interval '1 millisecond'
             where expires_at < clock_timestamp() or expires_at > clock_timestamp() + 2 * $2 * interval '1 millisecond'
             returning term";
        let mut own = self.relay_connection().await?;
        let taken = if own.shares_lock {
            let query = sqlx::query_scalar(SQL).bind(holder).bind(LEASE_MS);
            query.fetch_optional(&mut own.connection).await?.map(Term)
        } else {
            None
        };
        self.keep(own);
        Ok(taken)
    }

    pub(in crate::store) async fn renew_lease(&self, term: Term) -> Result<bool, StoreError> {
        const SQL: &str =
            "update relay_lease set expires_at = clock_timestamp() + $2 * interval '1 millisecond'
                           where term = $1";
        let mut own = self.relay_connection().await?;
        let query = sqlx::query(SQL).bind(term.0).bind(LEASE_MS);
        let renewed = own.shares_lock && query.execute(&mut own.connection).await?.rows_affected() > 0;
        self.keep(own);
        Ok(renewed)
    }

    pub(in crate::store) async fn give_lease_up(&self, term: Term) -> Result<(), StoreError> {
        const SQL: &str = "update relay_lease set holder = null, expires_at = 'epoch' where term = $1";
        let mut own = self.relay_connection().await?;
        sqlx::query(SQL).bind(term.0).execute(&mut own.connection).await?;
        // The shared lock goes with the connection.
        Ok(own.connection.close().await?)
    }

    async fn relay_connection(&self) -> Result<RelayConnection, StoreError> {
        let kept = self.relaying.lock().unwrap_or_else(PoisonError::into_inner).take();
        let mut own = match kept {
            Some(own) => own,
            None => {
                let connection = PgConnection::connect_with(&self.options).await?;
                RelayConnection { connection, shares_lock: false }
            }
        };
        if !own.shares_lock {
            let query = sqlx::query_scalar("select pg_try_advisory_lock_shared($1)").bind(RELAY_LOCK);
            own.shares_lock = query.fetch_one(&mut own.connection).await?;
        }
        Ok(own)
    }

    fn keep(&self, own: RelayConnection) {
        *self.relaying.lock().unwrap_or_else(PoisonError::into_inner) = Some(own);
    }
}
