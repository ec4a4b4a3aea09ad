//! The relay's lease, on a connection of its own: a full pool must not cost it.

use std::sync::PoisonError;

use sqlx::{Connection as _, PgConnection};
use uuid::Uuid;

use super::Postgres;
use crate::store::StoreError;
use crate::store::columns::Columns as _;
use crate::store::lease::{LEASE, LeaseState, OFFER, Term};

/// The advisory lock of the versions before the lease. They take it alone; we share it, so that none of them relays
/// beside us.
const RELAY_LOCK: i64 = 0x4348_5552_4348;

/// The relay's connection. It is put back only after a call that ended well, so a broken one is closed.
pub(super) struct RelayConnection {
    connection: PgConnection,
    /// Whether no older version can relay as long as this connection lives.
    shares_lock: bool,
}

impl Postgres {
    pub(in crate::store) async fn lease_state(&self) -> Result<LeaseState, StoreError> {
        // A time that lies too far ahead was written before the clock was set back.
        const SQL: &str = "select
                 expires_at between clock_timestamp() and clock_timestamp() + 2 * $2 * interval '1 second' as held,
                 standby_ready_at between clock_timestamp() - $1 * interval '1 second'
                     and clock_timestamp() + $1 * interval '1 second' as standby_ready
             from relay_lease";
        let query = sqlx::query(SQL).bind(OFFER.as_secs_f64()).bind(LEASE.as_secs_f64());
        let row = query.fetch_one(&self.pool).await?;
        Ok(LeaseState { held: row.flag("held")?, standby_ready: row.flag("standby_ready")? })
    }

    pub(in crate::store) async fn take_lease(&self, holder: Uuid) -> Result<Option<Term>, StoreError> {
        // One that ends later than any lease can was written before the clock was set back.
        const SQL: &str = "update relay_lease
             set holder = $1, term = term + 1, standby_ready_at = 'epoch',
                 expires_at = clock_timestamp() + $2 * interval '1 second'
             where expires_at < clock_timestamp() or expires_at > clock_timestamp() + 2 * $2 * interval '1 second'
             returning term";
        let mut own = self.relay_connection().await?;
        let taken = if own.shares_lock {
            let query = sqlx::query_scalar(SQL).bind(holder).bind(LEASE.as_secs_f64());
            query.fetch_optional(&mut own.connection).await?.map(Term)
        } else {
            None
        };
        self.keep(own);
        Ok(taken)
    }

    pub(in crate::store) async fn renew_lease(&self, term: Term) -> Result<bool, StoreError> {
        const SQL: &str = "update relay_lease set expires_at = clock_timestamp() + $2 * interval '1 second'
                           where term = $1";
        let mut own = self.relay_connection().await?;
        let query = sqlx::query(SQL).bind(term.0).bind(LEASE.as_secs_f64());
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

    pub(in crate::store) async fn offer_to_relay(&self) -> Result<(), StoreError> {
        const SQL: &str = "update relay_lease set standby_ready_at = clock_timestamp()";
        sqlx::query(SQL).execute(&self.pool).await?;
        Ok(())
    }

    /// Whether a term is over. Asked after a fenced change that changed nothing.
    pub(super) async fn ensure_term(&self, term: Term) -> Result<(), StoreError> {
        const SQL: &str = "select count(*) from relay_lease where term = $1";
        let held: i64 = sqlx::query_scalar(SQL).bind(term.0).fetch_one(&self.pool).await?;
        if held == 0 { Err(StoreError::LeaseLost) } else { Ok(()) }
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
