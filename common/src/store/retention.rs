//! Deletes old rows, batch by batch.

use time::OffsetDateTime;
use uuid::Uuid;

use super::columns::{Columns, Read};
use super::database::Database;
use super::failures::StoreError;
use super::handle::{Store, dispatch};
use super::session::Session as _;
use super::sql::{Sql, sql};

/// Rows deleted by one statement, so that it holds its locks for a short time.
const BATCH_ROWS: u32 = 500;

/// Rows that are deleted once they are old.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prunable {
    /// Announced and superseded rows of the outbox, the one announced last excepted.
    Events,
    /// Webhooks, whatever became of them.
    Webhooks,
    /// Keys of repeatable requests.
    IdempotencyKeys,
    /// Finished messages and their recipients, by their last change. Pending ones stay.
    Messages,
    /// Texts that people sent, by when they were recorded.
    Inbound,
    /// Revocations, by the time until which the revoked tokens were issued.
    Revocations,
}

impl Store {
    /// Deletes one batch of rows that are older than given and wait for nothing. Returns how many; 0 once none is left.
    /// Several processes may do this at the same time: each skips rows that another one deletes.
    ///
    /// # Errors
    /// The database is away.
    pub async fn prune(&self, what: Prunable, before: OffsetDateTime) -> Result<u64, StoreError> {
        if what == Prunable::Events {
            dispatch!(self, db => db.execute_unsynced(HORIZON.bind(before)).await)?;
        }
        dispatch!(self, db => match deletion(what) {
            Some(delete) => {
                db.execute_unsynced(delete.bind(before).bind(BATCH_ROWS).bind(before.unix_timestamp())).await
            }
            None => prune_messages(db, before).await,
        })
    }
}

/// Notes that events before a time may be missing, before they are deleted.
const HORIZON: Sql = sql!("update outbox_horizon set pruned_until = $1 where pruned_until < $1");

/// The statement that deletes rows before a time ($1, in Unix seconds $3), at most $2. Messages need several
/// statements.
pub(super) fn deletion(what: Prunable) -> Option<Sql> {
    Some(match what {
        // Reads only the oldest rows of the outbox. Keeps the row announced last, with which the relay fences. SQLite
        // uses the index of the maximum only with its condition.
        Prunable::Events => sql!(
            "delete from outbox where position in (select position from outbox order by position limit $2"
             [skip locked] ")
             and coalesce(announced_at, superseded_at) < $1
             and stream_seq is distinct from
                 (select max(stream_seq) from outbox where stream_seq is not null)"
        ),
        Prunable::Webhooks => sql!(
            "delete from webhooks where " [row in] "
                 select " [row] " from webhooks where received_at < $1 order by received_at limit $2"
             [skip locked] [end in]
        ),
        Prunable::IdempotencyKeys => sql!(
            "delete from idempotency_keys where " [row in] "
                 select " [row] " from idempotency_keys where created_at < $1 order by created_at limit $2"
             [skip locked] [end in]
        ),
        Prunable::Revocations => sql!(
            "delete from revocations where " [row in] "
                 select " [row] " from revocations where issued_until < $3 limit $2" [skip locked] [end in]
        ),
        Prunable::Inbound => sql!(
            "delete from inbound where " [row in] "
                 select " [row] " from inbound where recorded_at < $1 order by recorded_at limit $2" [skip locked] [end in]
        ),
        Prunable::Messages => return None,
    })
}

/// Deletes the oldest finished messages that together have about as many recipients as a batch.
async fn prune_messages<D: Database>(db: &D, before: OffsetDateTime) -> Result<u64, StoreError> {
    const RECIPIENTS: Sql = sql!("delete from recipients where message_id " [in 1]);
    const MESSAGES: Sql = sql!("delete from messages where id " [in 1]);
    let mut tx = db.begin().await?;
    let old = tx.fetch(FINISHED.bind(before).bind(BATCH_ROWS)).await?;
    let ids = first_with(old, BATCH_ROWS);
    for delete in [RECIPIENTS, MESSAGES] {
        tx.execute(delete.bind(ids.as_slice())).await?;
    }
    tx.commit().await?;
    Ok(ids.len() as u64)
}

/// The oldest finished messages.
pub(super) const FINISHED: Sql = sql!(
    "select id, recipient_count from messages
     where created_at < $1 and status <> 'pending' and updated_at < $1 order by created_at limit $2" [skip locked]
);

/// A message that may be deleted.
struct Finished {
    id: Uuid,
    recipients: i64,
}

impl Read for Finished {
    fn read(row: &impl Columns) -> Result<Self, StoreError> {
        Ok(Self { id: row.id("id")?, recipients: row.number("recipient_count")? })
    }
}

/// The first messages that together have at most `limit` recipients; at least one message.
fn first_with(messages: Vec<Finished>, limit: u32) -> Vec<Uuid> {
    let mut recipients = 0;
    let fit = messages.into_iter().take_while(|message| {
        let is_first = recipients == 0;
        recipients += message.recipients;
        is_first || recipients <= i64::from(limit)
    });
    fit.map(|message| message.id).collect()
}
