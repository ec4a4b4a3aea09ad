//! What waits to be sent, and for Telnyx's answer.

use std::time::Duration;

use time::OffsetDateTime;

use super::paces::waiting_senders;
use crate::store::columns::{Columns, Read};
use crate::store::database::Database;
use crate::store::failures::StoreError;
use crate::store::handle::{Store, dispatch};
use crate::store::records::Backlog;
use crate::store::session::{Session, leave, only};
use crate::store::sql::Sql;

impl Store {
    /// Counts what waits. A recipient counts as unresolved if its attempt is older than `answered_within`.
    ///
    /// # Errors
    /// The database is away.
    pub async fn backlog(
        &self,
        now: OffsetDateTime,
        answered_within: Duration,
    ) -> Result<Backlog, StoreError> {
        dispatch!(self, db => read(db, now, now - answered_within).await)
    }
}

/// Recipients that are due at $1, up to a hundred thousand, and those attempted before $2 of whom Telnyx has not said
/// whether it has their text.
pub(in crate::store) const COUNTS: Sql = Sql {
    postgres: "select
        (select count(*) from (select 1 from recipients
            where attempted_at is null and provider_id is null and rank < 4 and not closed
              and sender >= '' and due_at <= $1 limit 100000) due) as due,
        (select count(*) from recipients
            where attempted_at < $2 and rank < 4 and not closed and provider_id is null) as unresolved",
    // Without `indexed by` SQLite takes the unique index of provider ids.
    sqlite: "select
        (select count(*) from (select 1 from recipients indexed by recipients_waiting
            where attempted_at is null and provider_id is null and rank < 4 and closed = 0
              and sender >= '' and due_at <= $1 limit 100000) due) as due,
        (select count(*) from recipients indexed by recipients_unresolved
            where attempted_at < $2 and rank < 4 and closed = 0 and provider_id is null) as unresolved",
};

struct Counts {
    due: i64,
    unresolved: i64,
}

impl Read for Counts {
    fn read(row: &impl Columns) -> Result<Self, StoreError> {
        Ok(Self { due: row.number("due")?, unresolved: row.number("unresolved")? })
    }
}

async fn read<D: Database>(
    db: &D,
    now: OffsetDateTime,
    attempted_before: OffsetDateTime,
) -> Result<Backlog, StoreError> {
    let mut tx = db.begin_reading().await?;
    let backlog = read_in(&mut tx, now, attempted_before).await;
    leave(tx, backlog).await
}

async fn read_in<S: Session>(
    tx: &mut S,
    now: OffsetDateTime,
    attempted_before: OffsetDateTime,
) -> Result<Backlog, StoreError> {
    let first = waiting_senders(tx).await?.into_iter().map(|waiting| waiting.due_at).min();
    let Counts { due, unresolved } = only(tx.fetch(COUNTS.bind(now).bind(attempted_before)).await?)?;
    let oldest = first.and_then(|due_at| Duration::try_from(now - due_at).ok()).unwrap_or_default();
    Ok(Backlog { due, oldest, unresolved })
}
