//! Claims: a transaction takes recipients that are due and marks them with its id.
//!
//! If it is unknown whether that transaction was committed, the claim is read back. That locks its rows, so it waits
//! for a commit that is still running.

use std::sync::{Mutex, PoisonError};

use time::OffsetDateTime;
use tracing::info;
use uuid::Uuid;

use super::due::{READ_ATTEMPTS, take_due};
use super::pace::{ALL_SENDERS, Pace};
use super::paces::{lock_paces, save_paces, waiting_senders};
use crate::store::database::Database;
use crate::store::failures::StoreError;
use crate::store::handle::{Store, dispatch};
use crate::store::ledger::Ledger;
use crate::store::records::{Attempt, SendLimits};
use crate::store::rows::{Budget, Claim, OpenClaim};
use crate::store::session::{Session as _, end, leave};

impl Store {
    /// Returns the same store with limits for its attempts.
    #[must_use]
    pub fn with_limits(mut self, limits: SendLimits) -> Self {
        self.limits = limits;
        self
    }

    /// Takes up to `limit` due recipients, in fair turns between the churches and no faster than the rates of their
    /// senders, and commits their attempts. Send each now and record the answer by [`Store::record_answers`]. If it is
    /// unknown whether an earlier claim was committed, its attempts are returned first; they may exceed `limit`.
    ///
    /// # Errors
    /// The database is away. Call again: what may have been committed is read back.
    pub async fn begin_attempts(&self, limit: u32, now: OffsetDateTime) -> Result<Vec<Attempt>, StoreError> {
        if let Some(claim) = self.claims.next_open() {
            return self.read_back(claim).await;
        }
        if limit == 0 || self.next_attempt_at().await?.is_none_or(|at| at > now) {
            return Ok(Vec::new());
        }
        let (id, after) = (Uuid::now_v7(), self.claims.served());
        let claim = Claim { id, limit, now, after: &after, limits: self.limits };
        let taken = Mutex::new(Vec::new());
        let note = |attempts: &[Attempt]| {
            *taken.lock().unwrap_or_else(PoisonError::into_inner) = recipients_of(attempts);
        };
        let claimed = dispatch!(self, db => take(db, &claim, note).await);
        if claimed.is_err() {
            self.claims.reopen(id, taken.into_inner().unwrap_or_else(PoisonError::into_inner));
        }
        let attempts = claimed?;
        self.claims.note_served(&attempts);
        Ok(attempts)
    }

    /// Treats the claim of these attempts as if the answer to its commit had been lost: it will be read back. Do not
    /// send these attempts.
    pub fn reread_claim(&self, attempts: &[Attempt]) {
        if let Some(first) = attempts.first() {
            self.claims.reopen(first.id.claim_id, recipients_of(attempts));
        }
    }

    async fn read_back(&self, claim: OpenClaim) -> Result<Vec<Attempt>, StoreError> {
        let read = dispatch!(self, db => read_back(db, &claim).await);
        match &read {
            Ok(attempts) => info!(claim.id = %claim.id, attempts = attempts.len(), "read a claim back"),
            Err(_) => self.claims.reopen(claim.id, claim.recipients),
        }
        read
    }
}

fn recipients_of(attempts: &[Attempt]) -> Vec<Uuid> {
    attempts.iter().map(|attempt| attempt.recipient_id).collect()
}

/// Takes due recipients. Calls `taken` with them before the commit, in case its answer is lost.
async fn take<D: Database>(
    db: &D,
    claim: &Claim<'_>,
    taken: impl FnOnce(&[Attempt]),
) -> Result<Vec<Attempt>, StoreError> {
    let mut tx = db.begin().await?;
    let claimed = claim_due(&mut tx, claim).await;
    match &claimed {
        Ok(attempts) if !attempts.is_empty() => taken(attempts),
        _ => return leave(tx, claimed).await,
    }
    end(tx, claimed).await
}

async fn claim_due<L: Ledger>(tx: &mut L, claim: &Claim<'_>) -> Result<Vec<Attempt>, StoreError> {
    let mut waiting = waiting_senders(tx).await?;
    waiting.retain(|waiting| waiting.due_at <= claim.now);
    if waiting.is_empty() {
        return Ok(Vec::new());
    }
    let names = std::iter::once(ALL_SENDERS).chain(waiting.iter().map(|waiting| waiting.sender.as_str()));
    let mut paces = lock_paces(tx, &Vec::from_iter(names)).await?;
    let most = allowance_of_all(&mut paces, claim);
    let budgets = budgets(&mut paces, most, claim);
    if budgets.is_empty() {
        return Ok(Vec::new());
    }
    let attempts = take_due(tx, &Claim { limit: most, ..*claim }, &budgets).await?;
    if attempts.is_empty() {
        return Ok(attempts);
    }
    for pace in &mut paces {
        let mine = |attempt: &&Attempt| pace.sender == ALL_SENDERS || attempt.sender == pace.sender;
        let count = u32::try_from(attempts.iter().filter(mine).count()).unwrap_or(u32::MAX);
        pace.take(count, claim.now);
    }
    save_paces(tx, &paces).await?;
    Ok(attempts)
}

fn allowance_of_all(paces: &mut [Pace], claim: &Claim<'_>) -> u32 {
    let all = paces.iter_mut().find(|pace| pace.sender == ALL_SENDERS);
    all.map_or(claim.limit, |pace| {
        pace.rate = claim.limits.rate.map(i64::from);
        pace.allowance(claim.limit, claim.now)
    })
}

fn budgets(paces: &mut [Pace], most: u32, claim: &Claim<'_>) -> Vec<Budget> {
    let too_late = claim.limits.within.map(|within| claim.now - within);
    let budget = |pace: &mut Pace| Budget {
        allowed: pace.allowance(most, claim.now),
        not_before: too_late.filter(|before| pace.is_stuck_since(*before)),
        sender: pace.sender.clone(),
    };
    let own = paces.iter_mut().filter(|pace| pace.sender != ALL_SENDERS);
    own.map(budget).filter(|budget| budget.allowed > 0).collect()
}

/// Reads the attempts of an open claim that still have to be sent; none if it was not committed.
async fn read_back<D: Database>(db: &D, claim: &OpenClaim) -> Result<Vec<Attempt>, StoreError> {
    let mut tx = db.begin().await?;
    let taken = tx.fetch(READ_ATTEMPTS.bind(claim.recipients.as_slice()).bind(claim.id)).await;
    leave(tx, taken).await
}
