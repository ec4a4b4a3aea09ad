//! Limits of time: waiting for a receipt, and waiting to be sent.

use std::time::Duration;

use time::OffsetDateTime;
use uuid::Uuid;

use super::paces::{read_paces, waiting_senders};
use crate::store::book::Book;
use crate::store::database::Database;
use crate::store::failures::StoreError;
use crate::store::handle::{Store, dispatch};
use crate::store::ledger::{Ledger, Locking};
use crate::store::new_events::NewEvents;
use crate::store::records::{Failure, NOT_SENT, Overdue};
use crate::store::session::{end, leave};
use crate::store::sql::{Sql, Statement, sql};

impl Store {
    /// Closes recipients whose receipt is overdue. Returns how many.
    ///
    /// # Errors
    /// The database is away.
    pub async fn close_overdue(&self, overdue: &Overdue, now: OffsetDateTime) -> Result<usize, StoreError> {
        let (closed, events) = dispatch!(self, db => {
            leaving_locked(|locking| close_overdue(db, overdue, now, locking)).await
        })?;
        self.committed(&events);
        Ok(closed)
    }

    /// Fails up to `limit` recipients that were held back for longer than
    /// [`SendLimits::within`](crate::store::SendLimits::within), as `not_sent`.
    /// Returns how many.
    ///
    /// # Errors
    /// The database is away.
    pub async fn fail_unsent(&self, limit: u32, now: OffsetDateTime) -> Result<usize, StoreError> {
        let Some(within) = self.limits.within else { return Ok(0) };
        let (failed, events) = dispatch!(self, db => fail_unsent(db, within, limit, now).await)?;
        self.committed(&events);
        Ok(failed)
    }
}

/// Recipients without a receipt: accepted ones attempted before $1, unresolved ones attempted before $2.
const OVERDUE: Sql = Sql {
    postgres: "
        (select id as value from recipients
         where attempted_at < $1 and not finished and provider_id is not null and ask_at is null
         order by attempted_at limit $3)
        union all
        (select id from recipients
         where attempted_at < $2 and not finished and provider_id is null
         order by attempted_at limit $3)",
    // Without `indexed by` SQLite takes the unique index of provider ids and reads all recipients that have none.
    sqlite: "
        select id as value from (select id from recipients indexed by recipients_overdue
            where attempted_at < $1 and rank < 4 and closed = 0 and provider_id is not null and ask_at is null
            order by attempted_at limit $3)
        union all
        select id from (select id from recipients indexed by recipients_unresolved
            where attempted_at < $2 and rank < 4 and closed = 0 and provider_id is null
            order by attempted_at limit $3)",
};

pub(in crate::store) fn overdue_recipients(overdue: &Overdue) -> Statement<'static> {
    OVERDUE.bind(overdue.accepted_before).bind(overdue.unresolved_before).bind(overdue.limit)
}

/// Waiting recipients of a sender ($1) that should have been sent before $2.
pub(in crate::store) const WAITING_SINCE: Sql = sql!(
    "select r.id as value from recipients r join messages m on m.id = r.message_id
     where " [unsent] " and sender = $1 and coalesce(m.send_at, m.created_at) < $2
       and r.church_id not in (select church_id from pauses) limit $3"
);

/// Runs a transaction. If it waits too long for rows that another one has locked, runs it again without them: they are
/// left to the next round.
async fn leaving_locked<T, F>(transaction: impl Fn(Locking) -> F) -> Result<T, StoreError>
where
    F: Future<Output = Result<T, StoreError>>,
{
    match transaction(Locking::Wait).await {
        Err(error) if error.is_row_lock() => transaction(Locking::SkipLocked).await,
        done => done,
    }
}

/// Closes or fails overdue recipients. Returns how many, and the new events.
async fn close_overdue<D: Database>(
    db: &D,
    overdue: &Overdue,
    now: OffsetDateTime,
    locking: Locking,
) -> Result<(usize, NewEvents), StoreError> {
    let mut tx = db.begin().await?;
    let closed = overdue_closed(&mut tx, overdue, now, locking).await;
    end(tx, closed).await
}

async fn overdue_closed<L: Ledger>(
    tx: &mut L,
    overdue: &Overdue,
    now: OffsetDateTime,
    locking: Locking,
) -> Result<(usize, NewEvents), StoreError> {
    let ids: Vec<Uuid> = tx.fetch(overdue_recipients(overdue)).await?;
    let mut book = Book::open(tx, &[], &ids, locking).await?;
    let closed = ids.iter().filter(|id| book.close_overdue(**id, overdue, now)).count();
    Ok((closed, book.close(tx).await?))
}

/// Fails recipients that were held back for longer than `held_for`. Locked rows are left to the next round. Returns how
/// many, and the new events.
async fn fail_unsent<D: Database>(
    db: &D,
    held_for: Duration,
    limit: u32,
    now: OffsetDateTime,
) -> Result<(usize, NewEvents), StoreError> {
    let mut tx = db.begin_reading().await?;
    let late = held_back(&mut tx, now - held_for, limit).await;
    let late = leave(tx, late).await?;
    if late.is_empty() {
        return Ok((0, NewEvents::default()));
    }
    let not_sent = Failure {
        code: NOT_SENT.into(),
        reason: "The text was held back for too long and was not sent.".into(),
    };
    leaving_locked(|locking| fail_waiting(db, &late, &not_sent, now, locking)).await
}

/// Fails those of these recipients that still wait to be sent. Returns how many, and the new events.
pub(in crate::store) async fn fail_waiting<D: Database>(
    db: &D,
    ids: &[Uuid],
    failure: &Failure,
    now: OffsetDateTime,
    locking: Locking,
) -> Result<(usize, NewEvents), StoreError> {
    let mut tx = db.begin().await?;
    let failed = waiting_failed(&mut tx, ids, failure, now, locking).await;
    end(tx, failed).await
}

async fn waiting_failed<L: Ledger>(
    tx: &mut L,
    ids: &[Uuid],
    failure: &Failure,
    now: OffsetDateTime,
    locking: Locking,
) -> Result<(usize, NewEvents), StoreError> {
    let mut book = Book::open(tx, &[], ids, locking).await?;
    let failed = ids.iter().filter(|id| book.fail_unsent(**id, failure, now)).count();
    Ok((failed, book.close(tx).await?))
}

/// Finds recipients that should have been sent before this moment and whose senders have been held back since.
async fn held_back<L: Ledger>(
    tx: &mut L,
    before: OffsetDateTime,
    limit: u32,
) -> Result<Vec<Uuid>, StoreError> {
    let waiting = waiting_senders(tx).await?;
    let names: Vec<&str> = waiting.iter().map(|waiting| waiting.sender.as_str()).collect();
    let paces = read_paces(tx, &names).await?;
    let mut late = Vec::new();
    for name in names {
        let pace = paces.iter().find(|pace| pace.sender == name);
        if pace.is_none_or(|pace| pace.is_stuck_since(before)) {
            late.extend(tx.fetch::<Uuid>(WAITING_SINCE.bind(name).bind(before).bind(limit)).await?);
        }
        if late.len() >= limit as usize {
            break;
        }
    }
    Ok(late)
}
