//! Erases one person: the number, the names, and the bodies that Telnyx sent about it.

use serde::Serialize;
use time::OffsetDateTime;
use uuid::Uuid;

use super::columns::{Columns, Read};
use super::database::Database;
use super::failures::StoreError;
use super::handle::{Store, dispatch, on_either};
use super::ledger::{Ledger as _, Locking};
use super::records::Failure;
use super::rows::ERASED;
use super::sending::limits::fail_waiting;
use super::session::{Session, leave, only};
use super::sql::{Sql, sql};

/// Rows read or changed by one statement, so that it holds its locks for a short time.
const BATCH_ROWS: usize = 500;

/// What was erased.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Erased {
    /// Recipients whose number and names were erased.
    pub recipients: u64,
    /// Of these, recipients that still waited to be sent; they failed.
    pub unsent: u64,
    /// Webhooks whose body and report were erased.
    pub webhooks: u64,
    /// Texts from the number that were deleted.
    pub inbound: u64,
    /// Events in the outbox whose reason named the number.
    pub events: u64,
}

/// A recipient with the number to erase.
struct Match {
    id: Uuid,
    unsent: bool,
}

impl Read for Match {
    fn read(row: &impl Columns) -> Result<Self, StoreError> {
        Ok(Self { id: row.id("id")?, unsent: row.flag("unsent")? })
    }
}

/// By which webhooks of a person are found: the number, and the recipients that have it.
struct Traces<'a> {
    ids: &'a [Uuid],
    phone: &'a str,
}

impl Store {
    /// Erases a number everywhere; with `dry` only counts. Works in batches and can be repeated. A text that waits to
    /// be sent fails. Telnyx is not asked about a text on its way.
    ///
    /// # Errors
    /// The database is away. The batches until then are committed.
    pub async fn erase_phone(&self, phone: &str, dry: bool) -> Result<Erased, StoreError> {
        let found: Vec<Match> = on_either!(self, db => recipients_with(db, phone).await)?;
        let ids: Vec<Uuid> = found.iter().map(|recipient| recipient.id).collect();
        let unsent: Vec<Uuid> =
            found.iter().filter(|recipient| recipient.unsent).map(|recipient| recipient.id).collect();
        if !dry {
            self.fail_erased(&unsent).await?;
        }
        let webhooks = self.erase_webhooks(&Traces { ids: &ids, phone }, dry).await?;
        let inbound = self.erase_inbound(phone, dry).await?;
        let events = dispatch!(self, db => erase_events(db, phone, dry).await)?;
        if !dry {
            for batch in ids.chunks(BATCH_ROWS) {
                dispatch!(self, db => erase_recipients(db, batch, phone).await)?;
            }
        }
        Ok(Erased { recipients: ids.len() as u64, unsent: unsent.len() as u64, webhooks, inbound, events })
    }

    async fn fail_erased(&self, unsent: &[Uuid]) -> Result<(), StoreError> {
        let failure = Failure {
            code: ERASED.into(),
            reason: "The recipient's number was erased before it was sent.".into(),
        };
        for batch in unsent.chunks(BATCH_ROWS) {
            let now = OffsetDateTime::now_utc();
            let (_, events) = dispatch!(self, db => {
                fail_waiting(db, batch, &failure, now, Locking::Wait).await
            })?;
            self.committed(&events);
        }
        Ok(())
    }

    /// Deletes the texts from the number, batch by batch. The back end is told of none of them any more.
    async fn erase_inbound(&self, phone: &str, dry: bool) -> Result<u64, StoreError> {
        let mut all = 0;
        loop {
            let erased = on_either!(self, db => erase_inbound(db, phone, dry).await)?;
            all += erased;
            if dry || erased < BATCH_ROWS as u64 {
                return Ok(all);
            }
        }
    }

    /// Erases the webhooks of the recipients and those that name the number, page by page.
    async fn erase_webhooks(&self, traces: &Traces<'_>, dry: bool) -> Result<u64, StoreError> {
        let (mut all, mut after) = (0, String::new());
        loop {
            let (erased, last) = dispatch!(self, db => erase_webhooks(db, traces, &after, dry).await)?;
            all += erased;
            match last {
                Some(last) => after = last,
                None => return Ok(all),
            }
        }
    }
}

/// Deletes or counts one batch of the texts from a number.
async fn erase_inbound<D: Database>(db: &D, phone: &str, dry: bool) -> Result<u64, StoreError> {
    const COUNT: Sql = sql!("select count(*) as value from inbound where from_number = $1");
    const DELETE: Sql = sql!(
        "delete from inbound where id in (select id from inbound where from_number = $1 order by id limit $2)"
    );
    let mut tx = db.begin().await?;
    // No index finds a number.
    tx.lift_time_limit().await?;
    if dry {
        let count = tx.fetch::<i64>(COUNT.bind(phone)).await;
        return Ok(u64::try_from(only(leave(tx, count).await?)?).unwrap_or(0));
    }
    let erased = tx.execute(DELETE.bind(phone).bind(BATCH_ROWS as i64)).await?;
    tx.commit().await?;
    Ok(erased)
}

async fn recipients_with<D: Database>(db: &D, phone: &str) -> Result<Vec<Match>, StoreError> {
    const FIND: Sql = sql!(
        "select id, attempted_at is null and " [open] " as unsent from recipients where phone = $1 order by id"
    );
    let mut tx = db.begin_reading().await?;
    // No index finds a number.
    tx.lift_time_limit().await?;
    let found = tx.fetch(FIND.bind(phone)).await;
    leave(tx, found).await
}

async fn erase_recipients<D: Database>(db: &D, ids: &[Uuid], phone: &str) -> Result<(), StoreError> {
    const MESSAGES: Sql = sql!(
        "update messages set failure_reason = replace(failure_reason, $2, $3)
         where id in (select message_id from recipients where id " [in 1] ")
           and failure_reason <> replace(failure_reason, $2, $3)"
    );
    const RECIPIENTS: Sql = sql!(
        "update recipients
         set phone = $3, member_id = null, first_name = null, last_name = null, ask_at = null,
             failure_reason = replace(failure_reason, $2, $3)
         where id " [in 1]
    );
    let mut tx = db.begin().await?;
    // Messages before recipients, as everywhere.
    for erase in [MESSAGES, RECIPIENTS] {
        tx.execute(erase.bind(ids).bind(phone).bind(ERASED)).await?;
    }
    tx.commit().await
}

/// Erases one page of webhooks. Returns how many, and where the next page begins.
async fn erase_webhooks<D: Database>(
    db: &D,
    traces: &Traces<'_>,
    after: &str,
    dry: bool,
) -> Result<(u64, Option<String>), StoreError> {
    const LAST: Sql = sql!(
        "select event_id as value from webhooks where event_id > $1 order by event_id limit 1 offset $2"
    );
    // A parked webhook has no recipient left to find.
    const ERASE: Sql = sql!(
        "update webhooks
         set body = " [no bytes] ", report = null,
             outcome = case outcome when 'parked' then 'ignored' else outcome end,
             reason = case outcome when 'parked' then $5 else reason end
         where event_id > $1 and ($2 is null or event_id <= $2) and body <> " [no bytes] "
           and (recipient_id " [in 3] " or " [bytes of 4 in body] ")"
    );
    let mut tx = db.begin().await?;
    let last: Option<String> = tx.fetch(LAST.bind(after).bind(BATCH_ROWS as i64 - 1)).await?.pop();
    // The number as it stands in JSON.
    let quoted = format!("\"{}\"", traces.phone);
    let erase = ERASE.bind(after).bind(&last).bind(traces.ids).bind(quoted).bind(ERASED);
    let erased = tx.execute(erase).await?;
    finish(tx, dry).await?;
    Ok((erased, last))
}

async fn erase_events<D: Database>(db: &D, phone: &str, dry: bool) -> Result<u64, StoreError> {
    const OUTBOX: Sql = sql!(
        "update outbox set payload = replace(payload, $1, $2)
                              where payload <> replace(payload, $1, $2)"
    );
    const REFUSED: Sql = sql!(
        "update refused_events set payload = replace(payload, $1, $2)
                               where payload <> replace(payload, $1, $2)"
    );
    let mut tx = db.begin().await?;
    tx.lift_time_limit().await?;
    let mut erased = 0;
    for erase in [OUTBOX, REFUSED] {
        erased += tx.execute(erase.bind(phone).bind(ERASED)).await?;
    }
    finish(tx, dry).await?;
    Ok(erased)
}

async fn finish<S: Session>(tx: S, dry: bool) -> Result<(), StoreError> {
    if dry { tx.roll_back().await } else { tx.commit().await }
}
