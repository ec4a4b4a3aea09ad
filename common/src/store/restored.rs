//! What a database needs after it was restored from a backup, before services use it again. What happened since the
//! backup is unknown: texts were sent, and browsers hold newer versions of messages.

use time::OffsetDateTime;

use super::database::Database;
use super::failures::StoreError;
use super::handle::{Store, on_either};
use super::ledger::Ledger as _;
use super::records::{Overdue, Restored};
use super::session::{Session, end};
use super::sql::{Sql, sql};

/// More versions than a message gets in its life: three for each of 10,000 recipients.
const VERSIONS: i64 = 1_000_000;
/// Recipients that are closed in one transaction.
const BATCH: u32 = 500;

impl Store {
    /// Takes each recipient that was due until `sent_until` as attempted, and closes it and all other attempts without
    /// an answer as unresolved: a text may have reached them. Raises the version of every message above all that
    /// browsers can hold. Only while no service runs.
    ///
    /// # Errors
    /// The database is away. Repeating it does no harm.
    pub async fn settle_restored(&self, sent_until: OffsetDateTime) -> Result<Restored, StoreError> {
        let (doubtful, messages) = on_either!(self, db => settle(db, sent_until).await)?;
        let mut unresolved = 0;
        loop {
            let now = OffsetDateTime::now_utc();
            let attempts = Overdue {
                // Telnyx can be asked about what it has accepted.
                accepted_before: OffsetDateTime::UNIX_EPOCH,
                unresolved_before: now,
                limit: BATCH,
            };
            match self.close_overdue(&attempts, now).await? {
                0 => return Ok(Restored { messages, doubtful, unresolved }),
                closed => unresolved += closed as u64,
            }
        }
    }
}

/// Returns how many recipients are taken as attempted, and how many messages there are.
async fn settle<D: Database>(db: &D, sent_until: OffsetDateTime) -> Result<(u64, u64), StoreError> {
    let mut tx = db.begin().await?;
    tx.lift_time_limit().await?;
    let settled = settle_in(&mut tx, sent_until).await;
    end(tx, settled).await
}

async fn settle_in<S: Session>(tx: &mut S, sent_until: OffsetDateTime) -> Result<(u64, u64), StoreError> {
    const ATTEMPTED: Sql =
        sql!("update recipients set attempted_at = due_at where " [unsent] " and due_at <= $1");
    const MESSAGES: Sql = sql!("update messages set version = version + $1");
    // The audit compares them with those of the messages.
    const EVENTS: Sql = sql!("update outbox set version = version + $1");
    const REFUSED: Sql = sql!("update refused_events set version = version + $1");
    let doubtful = tx.execute(ATTEMPTED.bind(sent_until)).await?;
    let messages = tx.execute(MESSAGES.bind(VERSIONS)).await?;
    tx.execute(EVENTS.bind(VERSIONS)).await?;
    tx.execute(REFUSED.bind(VERSIONS)).await?;
    Ok((doubtful, messages))
}
