//! The right to relay the outbox: a lease on one row, timed by the database's clock.

use std::time::Duration;

use uuid::Uuid;

use super::{Backend, Store, StoreError};

/// How long a lease is valid after it was taken or renewed.
pub const LEASE: Duration = Duration::from_secs(10);
/// What a process that stands by has written is believed for so long.
pub(super) const OFFER: Duration = Duration::from_secs(5);

/// The number of a lease. It rises with each new holder, so it tells whose work is still wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Term(pub(super) i64);

/// The lease as it stands in the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaseState {
    /// Whether a process holds it now.
    pub held: bool,
    /// Whether a process that stands by said in the last 5 s that its broker takes events.
    pub standby_ready: bool,
}

impl Store {
    /// Whether the lease is held, and whether anybody could take it over.
    ///
    /// # Errors
    /// The database is away, or its schema is older.
    pub async fn lease_state(&self) -> Result<LeaseState, StoreError> {
        dispatch!(self, db => db.lease_state().await)
    }

    /// Takes the lease if nobody holds it. `None` if another process does, or an older version of us relays.
    ///
    /// # Errors
    /// The database is away, or SQLite's lock file can't be made.
    pub async fn take_lease(&self, holder: Uuid) -> Result<Option<Term>, StoreError> {
        dispatch!(self, db => db.take_lease(holder).await)
    }

    /// Renews the lease. `false` if another process holds it now.
    ///
    /// # Errors
    /// The database is away.
    pub async fn renew_lease(&self, term: Term) -> Result<bool, StoreError> {
        dispatch!(self, db => db.renew_lease(term).await)
    }

    /// Gives the lease up, so that another process can take it at once.
    ///
    /// # Errors
    /// The database is away; the lease expires by itself.
    pub async fn give_lease_up(&self, term: Term) -> Result<(), StoreError> {
        dispatch!(self, db => db.give_lease_up(term).await)
    }

    /// Says that this process stands by and that its broker takes events.
    ///
    /// # Errors
    /// The database is away.
    pub async fn offer_to_relay(&self) -> Result<(), StoreError> {
        dispatch!(self, db => db.offer_to_relay().await)
    }
}
