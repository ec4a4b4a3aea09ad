//! The right to relay the outbox: a lease on one row, timed by the database's clock.

use uuid::Uuid;

use super::columns::{Columns, Read};
use super::database::Database as _;
use super::failures::StoreError;
use super::handle::{Store, dispatch};
use super::records::{LEASE_MS, LeaseState, OFFER_MS, Term};
use super::session::only;
use super::sql::Sql;

/// A time too far ahead was written before the clock was set back.
const STATE: Sql = Sql {
    postgres: "select
            expires_at between clock_timestamp() and clock_timestamp() + 2 * $1 * interval '1 millisecond' as held,
            standby_ready_at between clock_timestamp() - $2 * interval '1 millisecond'
                and clock_timestamp() + $2 * interval '1 millisecond' as standby_ready
        from relay_lease",
    sqlite: "select
            expires_at between unixepoch('subsec') * 1000 and unixepoch('subsec') * 1000 + 2 * $1 as held,
            standby_ready_at between unixepoch('subsec') * 1000 - $2 and unixepoch('subsec') * 1000 + $2
                as standby_ready
        from relay_lease",
};
const OFFER_RELAY: Sql = Sql {
    postgres: "update relay_lease set standby_ready_at = clock_timestamp()",
    sqlite: "update relay_lease set standby_ready_at = cast(unixepoch('subsec') * 1000 as integer)",
};

impl Store {
    /// Returns whether the lease is held, and whether another process could take it over.
    ///
    /// # Errors
    /// The database is away, or its schema is older.
    pub async fn lease_state(&self) -> Result<LeaseState, StoreError> {
        only(dispatch!(self, db => db.fetch(STATE.bind(LEASE_MS).bind(OFFER_MS)).await)?)
    }

    /// Takes the lease. Returns `None` if another process holds it, or a process of an older version relays.
    ///
    /// # Errors
    /// The database is away, or SQLite's lock file can't be made.
    pub async fn take_lease(&self, holder: Uuid) -> Result<Option<Term>, StoreError> {
        dispatch!(self, db => db.take_lease(holder).await)
    }

    /// Renews the lease. Returns `false` if another process holds it now.
    ///
    /// # Errors
    /// The database is away.
    pub async fn renew_lease(&self, term: Term) -> Result<bool, StoreError> {
        dispatch!(self, db => db.renew_lease(term).await)
    }

    /// Releases the lease, so that another process can take it at once.
    ///
    /// # Errors
    /// The database is away; the lease expires by itself.
    pub async fn give_lease_up(&self, term: Term) -> Result<(), StoreError> {
        dispatch!(self, db => db.give_lease_up(term).await)
    }

    /// Reports that this process stands by and that its broker takes events.
    ///
    /// # Errors
    /// The database is away.
    pub async fn offer_to_relay(&self) -> Result<(), StoreError> {
        dispatch!(self, db => db.execute_unsynced(OFFER_RELAY.into()).await).map(drop)
    }
}

impl Read for LeaseState {
    fn read(row: &impl Columns) -> Result<Self, StoreError> {
        Ok(Self { held: row.flag("held")?, standby_ready: row.flag("standby_ready")? })
    }
}
