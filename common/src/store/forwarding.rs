//! Which inbound texts the church's back end is still to be told of.
//!
//! An attempt reserves its texts for a while, so that no other process tells them at the same time. If its process dies,
//! they are due again once that time is over: a text is told at least once. The texts of one person come in order: a
//! text waits until the one before it was told or given up, so that START never overtakes STOP.

use time::OffsetDateTime;
use uuid::Uuid;

use super::columns::{Columns, Read};
use super::database::Database;
use super::failures::StoreError;
use super::handle::{Store, dispatch};
use super::records::{Forward, ForwardClaim, ForwardState, Inbound};
use super::session::{Session as _, only};
use super::sql::{Sql, Statement, sql};

/// Texts given up by one statement.
const BATCH_ROWS: u32 = 500;

impl Store {
    /// Takes due texts, each of another person, and reserves them.
    ///
    /// # Errors
    /// The database is away.
    pub async fn take_forwards(&self, claim: &ForwardClaim) -> Result<Vec<Forward>, StoreError> {
        dispatch!(self, db => take(db, claim).await)
    }

    /// Records that the back end was told of a text.
    ///
    /// # Errors
    /// The database is away.
    pub async fn forwarded(&self, forward: &Forward, now: OffsetDateTime) -> Result<(), StoreError> {
        const DONE: Sql = sql!("update inbound set forward_at = null, forwarded_at = $2 where id = $1");
        dispatch!(self, db => run(db, DONE.bind(forward.inbound.id).bind(now)).await).map(drop)
    }

    /// Records that an attempt failed, and when the next one is due. Changes nothing if another attempt has begun.
    ///
    /// # Errors
    /// The database is away.
    pub async fn forward_again(&self, forward: &Forward, at: OffsetDateTime) -> Result<(), StoreError> {
        const AGAIN: Sql = sql!(
            "update inbound set forward_at = $3 where id = $1 and forward_claim = $2 and forward_at is not null"
        );
        let again = || AGAIN.bind(forward.inbound.id).bind(forward.claim).bind(at);
        dispatch!(self, db => run(db, again()).await).map(drop)
    }

    /// Gives up texts that were recorded before a moment, batch by batch. Returns how many.
    ///
    /// # Errors
    /// The database is away.
    pub async fn give_up_forwards(&self, before: OffsetDateTime) -> Result<u64, StoreError> {
        let mut all = 0;
        loop {
            let rows = dispatch!(self, db => give_up(db, before).await)?;
            all += rows;
            if rows < u64::from(BATCH_ROWS) {
                return Ok(all);
            }
        }
    }

    /// How many texts wait.
    ///
    /// # Errors
    /// The database is away.
    pub async fn forward_state(&self) -> Result<ForwardState, StoreError> {
        only(dispatch!(self, db => db.fetch(STATE.into()).await)?)
    }
}

/// The texts that are due ($1), were recorded at $2 or later, and have no earlier one of the same person before them.
pub(super) const DUE: Sql = sql!(
    "select id as value from inbound
     where forward_at <= $1 and recorded_at >= $2
       and not exists (select 1 from inbound earlier
                       where earlier.church_id = inbound.church_id and earlier.from_number = inbound.from_number
                         and earlier.id < inbound.id and earlier.forward_at is not null)
     order by forward_at limit $3"
);
pub(super) const TOO_OLD: Sql = sql!(
    "select id as value from inbound where forward_at is not null and recorded_at < $1 order by forward_at limit $2"
);
pub(super) const STATE: Sql = sql!(
    "select count(*) as waiting, min(case when forward_tries > 0 then recorded_at end) as tried_since
     from inbound where forward_at is not null"
);

async fn take<D: Database>(db: &D, claim: &ForwardClaim) -> Result<Vec<Forward>, StoreError> {
    const TAKE: Sql = sql!(
        "update inbound set forward_at = $4, forward_claim = $5, forward_tries = forward_tries + 1 where id in ("
    );
    const READ: Sql = sql!(
        ") returning id, church_id, from_number, content, media_count, opt_out, received_at, recorded_at,
             forward_claim, forward_tries"
    );
    let bound =
        |statement: Statement<'static>| statement.bind(claim.now).bind(claim.not_before).bind(claim.limit);
    // Usually nothing is due. Reading shows that without SQLite's one writer.
    if db.fetch::<Uuid>(bound(DUE.into())).await?.is_empty() {
        return Ok(Vec::new());
    }
    let take = Statement::from(TAKE).push(DUE).push(sql!([skip locked])).push(READ);
    let take = bound(take).bind(claim.now + claim.lease).bind(Uuid::now_v7());
    let mut tx = db.begin().await?;
    let taken = tx.fetch(take).await?;
    tx.commit().await?;
    Ok(taken)
}

async fn give_up<D: Database>(db: &D, before: OffsetDateTime) -> Result<u64, StoreError> {
    const GIVE_UP: Sql =
        sql!("update inbound set forward_at = null where forward_at is not null and id in (");
    let bound = |statement: Statement<'static>| statement.bind(before).bind(BATCH_ROWS);
    if db.fetch::<Uuid>(bound(TOO_OLD.into())).await?.is_empty() {
        return Ok(0);
    }
    run(db, bound(Statement::from(GIVE_UP).push(TOO_OLD).push(sql!([skip locked])).push(sql!(")")))).await
}

async fn run<D: Database>(db: &D, statement: Statement<'_>) -> Result<u64, StoreError> {
    let mut tx = db.begin().await?;
    let rows = tx.execute(statement).await?;
    tx.commit().await?;
    Ok(rows)
}

impl Read for Forward {
    fn read(row: &impl Columns) -> Result<Self, StoreError> {
        let tries = u32::try_from(row.number("forward_tries")?).unwrap_or(u32::MAX);
        Ok(Self { inbound: Inbound::read(row)?, claim: row.id("forward_claim")?, tries })
    }
}

impl Read for ForwardState {
    fn read(row: &impl Columns) -> Result<Self, StoreError> {
        Ok(Self { waiting: row.number("waiting")?, tried_since: row.opt_time("tried_since")? })
    }
}
