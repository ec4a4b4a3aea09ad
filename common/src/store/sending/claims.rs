//! Attempts: which recipients are taken for sending, and when.
//!
//! A claim takes recipients in one transaction and marks them with its id. When nobody knows whether that transaction
//! was committed, the claim is read back: its rows are locked, so that a commit under way has ended by then.

use time::OffsetDateTime;
use uuid::Uuid;

use super::pace::{EVERYBODY, Pace};
use crate::store::ledger::{Database, Ledger, end, leave};
use crate::store::{Attempt, HeldSender, SendLimits, StoreError};
use crate::subject::ChurchId;

/// The rows that sending needs besides a [`Ledger`]'s.
pub(in crate::store) trait Claims: Ledger {
    /// Each sender that something waits for, with the first moment at which it is due.
    async fn waiting_senders(&mut self) -> Result<Vec<WaitingSender>, StoreError>;
    /// The paces of these senders, unlocked; a sender without a row has none.
    async fn read_paces(&mut self, senders: &[&str]) -> Result<Vec<Pace>, StoreError>;
    /// Makes the missing rows, locks all in one order, and reads them. Paces are locked after messages and recipients.
    async fn lock_paces(&mut self, senders: &[&str]) -> Result<Vec<Pace>, StoreError>;
    /// Writes paces back.
    async fn save_paces(&mut self, rows: &[Pace]) -> Result<(), StoreError>;
    /// Marks what is due with the claim's id and reads it, in fair turns between the churches.
    async fn take_due(&mut self, order: &Order<'_>, budgets: &[Budget]) -> Result<Vec<Attempt>, StoreError>;
    /// Those of these recipients that the claim has and that still have to be posted. Waits for a commit under way.
    async fn taken_by(&mut self, claim: &OpenClaim) -> Result<Vec<Attempt>, StoreError>;
    /// What waits to be sent now, counted up to a hundred thousand.
    async fn queue(
        &mut self,
        church: &ChurchId,
        sender: &str,
        now: OffsetDateTime,
    ) -> Result<Queue, StoreError>;
    /// Recipients of a sender that were to be sent before this moment and wait, unlocked.
    async fn waiting_since(
        &mut self,
        sender: &str,
        before: OffsetDateTime,
        limit: u32,
    ) -> Result<Vec<Uuid>, StoreError>;
}

/// What waits to be sent now.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::store) struct Queue {
    /// Of everybody.
    pub(in crate::store) all: i64,
    /// Of the church.
    pub(in crate::store) of_church: i64,
    /// Of the sender.
    pub(in crate::store) of_sender: i64,
    /// Churches that something waits for.
    pub(in crate::store) churches: i64,
}

/// A sender that something waits for.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::store) struct WaitingSender {
    pub(in crate::store) sender: String,
    pub(in crate::store) due_at: OffsetDateTime,
}

/// What a claim is to take.
pub(in crate::store) struct Order<'a> {
    pub(in crate::store) claim_id: Uuid,
    pub(in crate::store) limit: u32,
    pub(in crate::store) now: OffsetDateTime,
    /// The church that was served last: the turn begins after it.
    pub(in crate::store) after: &'a str,
    pub(in crate::store) limits: SendLimits,
}

/// How many a sender may have now.
#[derive(Debug, Clone)]
pub(in crate::store) struct Budget {
    pub(in crate::store) sender: String,
    pub(in crate::store) allowed: u32,
    /// What was to be sent before this is too late, and is left for the rule that says so.
    pub(in crate::store) not_before: Option<OffsetDateTime>,
}

/// A claim of which nobody knows whether it was committed.
#[derive(Debug, Clone)]
pub(in crate::store) struct OpenClaim {
    pub(in crate::store) id: Uuid,
    pub(in crate::store) recipients: Vec<Uuid>,
}

/// Takes what is due. `taken` is told of each recipient before the commit, for the case that its answer is lost.
pub(in crate::store) async fn claim<D: Database>(
    database: &D,
    order: &Order<'_>,
    taken: impl FnOnce(&[Attempt]),
) -> Result<Vec<Attempt>, StoreError>
where
    D::Tx: Claims,
{
    let mut ledger = database.begin().await?;
    let claimed = claim_due(&mut ledger, order).await;
    match &claimed {
        Ok(attempts) if !attempts.is_empty() => taken(attempts),
        _ => return leave(ledger, claimed).await,
    }
    end(ledger, claimed).await
}

async fn claim_due<L: Claims>(ledger: &mut L, order: &Order<'_>) -> Result<Vec<Attempt>, StoreError> {
    let mut waiting = ledger.waiting_senders().await?;
    waiting.retain(|waiting| waiting.due_at <= order.now);
    if waiting.is_empty() {
        return Ok(Vec::new());
    }
    let names = std::iter::once(EVERYBODY).chain(waiting.iter().map(|waiting| waiting.sender.as_str()));
    let mut paces = ledger.lock_paces(&Vec::from_iter(names)).await?;
    let most = allowance_of_everybody(&mut paces, order);
    let budgets = budgets(&mut paces, most, order);
    if budgets.is_empty() {
        return Ok(Vec::new());
    }
    let attempts = ledger.take_due(&Order { limit: most, ..*order }, &budgets).await?;
    if attempts.is_empty() {
        return Ok(attempts);
    }
    for pace in &mut paces {
        let mine = |attempt: &&Attempt| pace.sender == EVERYBODY || attempt.sender == pace.sender;
        let count = u32::try_from(attempts.iter().filter(mine).count()).unwrap_or(u32::MAX);
        pace.take(count, order.now);
    }
    ledger.save_paces(&paces).await?;
    Ok(attempts)
}

fn allowance_of_everybody(paces: &mut [Pace], order: &Order<'_>) -> u32 {
    let everybody = paces.iter_mut().find(|pace| pace.sender == EVERYBODY);
    everybody.map_or(order.limit, |pace| {
        pace.rate = order.limits.rate.map(i64::from);
        pace.allowance(order.limit, order.now)
    })
}

fn budgets(paces: &mut [Pace], most: u32, order: &Order<'_>) -> Vec<Budget> {
    let too_late = order.limits.within.map(|within| order.now - within);
    let budget = |pace: &mut Pace| Budget {
        allowed: pace.allowance(most, order.now),
        not_before: too_late.filter(|before| pace.is_stuck_since(*before)),
        sender: pace.sender.clone(),
    };
    let own = paces.iter_mut().filter(|pace| pace.sender != EVERYBODY);
    own.map(budget).filter(|budget| budget.allowed > 0).collect()
}

/// What an open claim took, if it was committed.
pub(in crate::store) async fn read_back<D: Database>(
    database: &D,
    claim: &OpenClaim,
) -> Result<Vec<Attempt>, StoreError>
where
    D::Tx: Claims,
{
    let mut ledger = database.begin().await?;
    let taken = ledger.taken_by(claim).await;
    leave(ledger, taken).await
}

/// When something may be taken at the earliest; `None` if nothing waits.
pub(in crate::store) async fn next_at<D: Database>(database: &D) -> Result<Option<OffsetDateTime>, StoreError>
where
    D::Tx: Claims,
{
    let mut ledger = database.begin_reading().await?;
    let next = first_moment(&mut ledger).await;
    leave(ledger, next).await
}

async fn first_moment<L: Claims>(ledger: &mut L) -> Result<Option<OffsetDateTime>, StoreError> {
    let waiting = ledger.waiting_senders().await?;
    let names = std::iter::once(EVERYBODY).chain(waiting.iter().map(|waiting| waiting.sender.as_str()));
    let paces = ledger.read_paces(&Vec::from_iter(names)).await?;
    let ready_at = |sender: &str| {
        let pace = paces.iter().find(|pace| pace.sender == sender);
        pace.map_or(OffsetDateTime::UNIX_EPOCH, Pace::ready_at)
    };
    let first = waiting.iter().map(|waiting| waiting.due_at.max(ready_at(&waiting.sender))).min();
    Ok(first.map(|at| at.max(ready_at(EVERYBODY))))
}

/// Writes the rate of everybody together down.
pub(in crate::store) async fn publish_rate<D: Database>(
    database: &D,
    rate: Option<u32>,
) -> Result<(), StoreError>
where
    D::Tx: Claims,
{
    let mut ledger = database.begin().await?;
    let written = write_rate(&mut ledger, rate).await;
    end(ledger, written).await
}

async fn write_rate<L: Claims>(ledger: &mut L, rate: Option<u32>) -> Result<(), StoreError> {
    let mut paces = ledger.lock_paces(&[EVERYBODY]).await?;
    paces.iter_mut().for_each(|pace| pace.rate = rate.map(i64::from));
    ledger.save_paces(&paces).await
}

/// Senders that something waits for and that are held back.
pub(in crate::store) async fn held<D: Database>(
    database: &D,
    now: OffsetDateTime,
) -> Result<Vec<HeldSender>, StoreError>
where
    D::Tx: Claims,
{
    let mut ledger = database.begin_reading().await?;
    let held = held_among_waiting(&mut ledger, now).await;
    leave(ledger, held).await
}

async fn held_among_waiting<L: Claims>(
    ledger: &mut L,
    now: OffsetDateTime,
) -> Result<Vec<HeldSender>, StoreError> {
    let waiting = ledger.waiting_senders().await?;
    let names: Vec<&str> = waiting.iter().map(|waiting| waiting.sender.as_str()).collect();
    let held = |pace: Pace| {
        let until = pace.held_until.filter(|until| *until > now)?;
        Some(HeldSender { reason: pace.reason?, until, setbacks: pace.setbacks })
    };
    Ok(ledger.read_paces(&names).await?.into_iter().filter_map(held).collect())
}
