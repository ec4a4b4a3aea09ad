//! Polls Telnyx for accepted recipients whose final status no webhook brought.

use time::OffsetDateTime;
use uuid::Uuid;

use crate::store::bulk;
use crate::store::columns::{Columns, Read};
use crate::store::database::Database;
use crate::store::failures::StoreError;
use crate::store::handle::{Store, dispatch};
use crate::store::records::{Ask, AskTimes};
use crate::store::session::{Session as _, only};
use crate::store::sql::{Sql, Statement, sql};

impl Store {
    /// Takes up to `limit` accepted recipients to ask Telnyx about. No other call takes them before
    /// [`AskTimes::taken_until`].
    ///
    /// # Errors
    /// The database is away.
    pub async fn take_asks(&self, limit: u32, times: &AskTimes) -> Result<Vec<Ask>, StoreError> {
        dispatch!(self, db => take(db, limit, times).await)
    }

    /// Records that Telnyx was asked, and when to ask again; `None` means never. A recipient that has its final status
    /// by now is left alone.
    ///
    /// # Errors
    /// The database is away.
    pub async fn ask_again(&self, recipients: &[(Uuid, Option<OffsetDateTime>)]) -> Result<(), StoreError> {
        dispatch!(self, db => ask_again(db, recipients).await)
    }

    /// Returns since when webhooks are missing for messages that Telnyx accepted between two moments, or `None` if they
    /// arrive.
    ///
    /// # Errors
    /// The database is away.
    pub async fn webhooks_missing_since(
        &self,
        from: OffsetDateTime,
        until: OffsetDateTime,
    ) -> Result<Option<OffsetDateTime>, StoreError> {
        only(dispatch!(self, db => db.fetch(UNHEARD.bind(from).bind(until)).await)?)
    }
}

/// Recipients to ask Telnyx about: due before $1 the first time, before $2 later.
pub(in crate::store) const DUE: Sql = sql!(
    "select id as value from recipients
     where ask_at <= " [greatest] "($1, $2) and ask_at <= case when asked = 0 then $1 else $2 end
     order by ask_at limit $3"
);

async fn take<D: Database>(db: &D, limit: u32, times: &AskTimes) -> Result<Vec<Ask>, StoreError> {
    let due = |begin: Sql| Statement::from(begin).bind(times.first_before).bind(times.now).bind(limit);
    // Usually nothing is due. Reading shows that without SQLite's one writer.
    if db.fetch::<Uuid>(due(DUE)).await?.is_empty() {
        return Ok(Vec::new());
    }
    let take = due(sql!("update recipients set ask_at = $4 where id in ("))
        .push(DUE)
        .push(sql!([skip locked] ") returning id, provider_id, phone, attempted_at, asked"))
        .bind(times.taken_until);
    let mut tx = db.begin().await?;
    let asks = tx.fetch(take).await?;
    tx.commit().await?;
    Ok(asks)
}

async fn ask_again<D: Database>(
    db: &D,
    recipients: &[(Uuid, Option<OffsetDateTime>)],
) -> Result<(), StoreError> {
    if recipients.is_empty() {
        return Ok(());
    }
    let new = bulk::rows(recipients).id("id", |(id, _)| *id).opt_time("ask_at", |(_, at)| *at).build();
    let mut tx = db.begin().await?;
    // Locked in the order of the ids, as everywhere.
    let ids: Vec<Uuid> = recipients.iter().map(|(id, _)| *id).collect();
    tx.fetch::<Uuid>(LOCK.bind(ids.as_slice())).await?;
    tx.execute(Statement::from(SAVE).push_rows(new).push(ASKED)).await?;
    tx.commit().await
}

const LOCK: Sql =
    sql!("select id as value from recipients where id " [in 1] " and ask_at is not null order by id" [lock]);
const SAVE: Sql = sql!("update recipients set ask_at = new.ask_at, asked = asked + 1 from");
const ASKED: Sql = sql!(" where recipients.id = new.id and recipients.ask_at is not null");

/// The first attempt, or the first answer that Telnyx had to be asked for, after the last webhook; between $1 and $2.
pub(in crate::store) const UNHEARD: Sql = sql!(
    "with heard as (
        select coalesce(max(received_at), $1) as at from (
            select received_at from webhooks
            where received_at > $1 and outcome in ('applied', 'stale') and event_type <> 'asked'
            order by received_at desc limit 1) w)
    select min(at) as value from (
        select at from (select attempted_at as at from recipients
            where attempted_at > (select at from heard) and attempted_at < $2
              and " [open] " and provider_id is not null
            order by attempted_at limit 1) sent
        union all
        select at from (select received_at as at from webhooks
            where event_type = 'asked' and outcome = 'applied' and received_at > (select at from heard)
            order by received_at limit 1) answered) unheard"
);

impl Read for Ask {
    fn read(row: &impl Columns) -> Result<Self, StoreError> {
        Ok(Self {
            recipient_id: row.id("id")?,
            provider_id: row.text("provider_id")?,
            phone: row.text("phone")?,
            attempted_at: row.time("attempted_at")?,
            asked: row.count("asked")?,
        })
    }
}
