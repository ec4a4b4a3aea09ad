//! The paces of senders in the database, and which senders have waiting recipients.

use time::OffsetDateTime;

use super::pace::{ALL_SENDERS, Pace};
use crate::store::bulk;
use crate::store::columns::{Columns, Read};
use crate::store::database::Database;
use crate::store::failures::StoreError;
use crate::store::handle::{Store, dispatch};
use crate::store::ledger::{Ledger, Locking};
use crate::store::records::HeldSender;
use crate::store::session::{Session, end, leave};
use crate::store::sql::{Sql, Statement, sql};

impl Store {
    /// Publishes the rate of all senders together to the other processes, for their estimates.
    ///
    /// # Errors
    /// The database is away.
    pub async fn publish_rate(&self) -> Result<(), StoreError> {
        dispatch!(self, db => publish_rate(db, self.limits.rate).await)
    }

    /// Returns when the next waiting recipient may be sent by its due time and its sender's pace; `None` if none waits.
    ///
    /// # Errors
    /// The database is away.
    pub async fn next_attempt_at(&self) -> Result<Option<OffsetDateTime>, StoreError> {
        dispatch!(self, db => next_at(db).await)
    }

    /// Returns since when the first recipient has been due that operators have not paused; `None` if none is due.
    ///
    /// # Errors
    /// The database is away.
    pub async fn due_since(&self, now: OffsetDateTime) -> Result<Option<OffsetDateTime>, StoreError> {
        let waiting: Vec<WaitingSender> = dispatch!(self, db => db.fetch(WAITING_SENDERS.into()).await)?;
        Ok(waiting.into_iter().map(|sender| sender.due_at).min().filter(|due_at| *due_at <= now))
    }

    /// Lists senders that are held back and have waiting recipients.
    ///
    /// # Errors
    /// The database is away.
    pub async fn held_senders(&self, now: OffsetDateTime) -> Result<Vec<HeldSender>, StoreError> {
        dispatch!(self, db => held(db, now).await)
    }
}

/// A sender with waiting recipients, and when the first of them is due.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct WaitingSender {
    pub(super) sender: String,
    pub(super) due_at: OffsetDateTime,
}

impl Read for WaitingSender {
    fn read(row: &impl Columns) -> Result<Self, StoreError> {
        Ok(Self { sender: row.text("sender")?, due_at: row.time("due_at")? })
    }
}

/// Jumps through the index from sender to sender instead of reading all waiting recipients. What operators have paused
/// does not wait: without this, the dispatcher would try to claim it without end. PostgreSQL, whose statistics may know of
/// no waiting recipient yet, takes `min` of all of them.
pub(in crate::store) const WAITING_SENDERS: Sql = sql!(
    "with recursive waiting as (
         select (select sender from recipients where " [unsent] " and sender >= '' order by sender limit 1) as sender
         union all
         select (select sender from recipients where " [unsent] " and sender > w.sender order by sender limit 1)
         from waiting w where w.sender is not null
     )
     , first as (
         select w.sender, case when exists (select 1 from pauses) then (
                    select due_at from recipients where " [unsent] " and sender = w.sender
                    and church_id not in (select church_id from pauses) order by due_at limit 1
                ) else (
                    select due_at from recipients where " [unsent] " and sender = w.sender order by due_at limit 1
                ) end as due_at
         from waiting w where w.sender is not null
     )
     select sender, due_at from first
     where due_at is not null and not exists (select 1 from pauses where church_id = '*')"
);

/// Reads all senders with waiting recipients.
pub(super) async fn waiting_senders<S: Session>(tx: &mut S) -> Result<Vec<WaitingSender>, StoreError> {
    tx.fetch(WAITING_SENDERS.into()).await
}

const READ_PACES: Sql = sql!(
    "select p.sender, case when p.sender = '*' then p.rate else s.rate end as rate, p.tokens, p.refilled_at,
            p.held_until, p.reason, p.setbacks, p.noted_at, p.served_at
     from paces p left join senders s on s.number = p.sender where p.sender " [in 1] " order by p.sender"
);

/// Reads paces without locking them. A sender without a row has no pace.
pub(super) async fn read_paces<S: Session>(tx: &mut S, senders: &[&str]) -> Result<Vec<Pace>, StoreError> {
    tx.fetch(READ_PACES.bind(senders)).await
}

/// Inserts missing paces, locks all in the order of the senders, and reads them.
pub(super) async fn lock_paces<L: Ledger>(tx: &mut L, senders: &[&str]) -> Result<Vec<Pace>, StoreError> {
    const MAKE: Sql = Sql {
        postgres: "insert into paces (sender, tokens, refilled_at)
            select sender, 0, 'epoch'::timestamptz from unnest($1::text[]) as new (sender) order by sender
            on conflict do nothing",
        sqlite: "insert into paces (sender, tokens, refilled_at)
            select value, 0, 0 from json_each($1) where true on conflict do nothing",
    };
    tx.execute(MAKE.bind(senders)).await?;
    tx.lock(READ_PACES.bind(senders).push(sql!([lock p])), Locking::Wait).await
}

/// Writes paces back. The rate of a church's own sender is in `senders`.
pub(super) async fn save_paces<S: Session>(tx: &mut S, rows: &[Pace]) -> Result<(), StoreError> {
    const SAVE: Sql = sql!(
        "update paces
         set rate = case when paces.sender = '*' then coalesce(new.rate, paces.rate) end, tokens = new.tokens,
             refilled_at = new.refilled_at, held_until = new.held_until, reason = new.reason,
             setbacks = new.setbacks, noted_at = new.noted_at, served_at = new.served_at
         from"
    );
    if rows.is_empty() {
        return Ok(());
    }
    let new = bulk::rows(rows)
        .text("sender", |pace| &pace.sender)
        .opt_number("rate", |pace| pace.rate)
        .fraction("tokens", |pace| pace.tokens)
        .time("refilled_at", |pace| pace.refilled_at)
        .opt_time("held_until", |pace| pace.held_until)
        .opt_text("reason", |pace| pace.reason.clone())
        .number("setbacks", |pace| pace.setbacks.into())
        .opt_time("noted_at", |pace| pace.noted_at)
        .opt_time("served_at", |pace| pace.served_at)
        .build();
    let save = Statement::from(SAVE).push_rows(new).push(sql!(" where paces.sender = new.sender"));
    tx.execute(save).await.map(drop)
}

/// Returns when the next recipient may be taken; `None` if none waits.
async fn next_at<D: Database>(db: &D) -> Result<Option<OffsetDateTime>, StoreError> {
    let mut tx = db.begin_reading().await?;
    let next = first_moment(&mut tx).await;
    leave(tx, next).await
}

async fn first_moment<L: Ledger>(tx: &mut L) -> Result<Option<OffsetDateTime>, StoreError> {
    let waiting = waiting_senders(tx).await?;
    let names = std::iter::once(ALL_SENDERS).chain(waiting.iter().map(|waiting| waiting.sender.as_str()));
    let paces = read_paces(tx, &Vec::from_iter(names)).await?;
    let ready_at = |sender: &str| {
        let pace = paces.iter().find(|pace| pace.sender == sender);
        pace.map_or(OffsetDateTime::UNIX_EPOCH, Pace::ready_at)
    };
    let first = waiting.iter().map(|waiting| waiting.due_at.max(ready_at(&waiting.sender))).min();
    Ok(first.map(|at| at.max(ready_at(ALL_SENDERS))))
}

/// Saves the rate of all senders together.
async fn publish_rate<D: Database>(db: &D, rate: Option<u32>) -> Result<(), StoreError> {
    let mut tx = db.begin().await?;
    let written = write_rate(&mut tx, rate).await;
    end(tx, written).await
}

async fn write_rate<L: Ledger>(tx: &mut L, rate: Option<u32>) -> Result<(), StoreError> {
    let mut paces = lock_paces(tx, &[ALL_SENDERS]).await?;
    paces.iter_mut().for_each(|pace| pace.rate = rate.map(i64::from));
    save_paces(tx, &paces).await
}

/// Lists held-back senders with waiting recipients.
async fn held<D: Database>(db: &D, now: OffsetDateTime) -> Result<Vec<HeldSender>, StoreError> {
    let mut tx = db.begin_reading().await?;
    let held = held_among_waiting(&mut tx, now).await;
    leave(tx, held).await
}

async fn held_among_waiting<L: Ledger>(
    tx: &mut L,
    now: OffsetDateTime,
) -> Result<Vec<HeldSender>, StoreError> {
    let waiting = waiting_senders(tx).await?;
    let names: Vec<&str> = waiting.iter().map(|waiting| waiting.sender.as_str()).collect();
    let held = |pace: Pace| {
        let until = pace.held_until.filter(|until| *until > now)?;
        Some(HeldSender { reason: pace.reason?, until, setbacks: pace.setbacks })
    };
    Ok(read_paces(tx, &names).await?.into_iter().filter_map(held).collect())
}

impl Read for Pace {
    fn read(row: &impl Columns) -> Result<Self, StoreError> {
        Ok(Self {
            sender: row.text("sender")?,
            rate: row.opt_number("rate")?,
            tokens: row.fraction("tokens")?,
            refilled_at: row.time("refilled_at")?,
            held_until: row.opt_time("held_until")?,
            reason: row.opt_text("reason")?,
            setbacks: row.count("setbacks")?,
            noted_at: row.opt_time("noted_at")?,
            served_at: row.opt_time("served_at")?,
        })
    }
}
