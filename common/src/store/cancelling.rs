//! Cancelling: what has not left yet is not sent.

use uuid::Uuid;

use super::book::Book;
use super::database::Database;
use super::failures::StoreError;
use super::handle::{Store, dispatch};
use super::ledger::{Ledger, Locking};
use super::new_events::NewEvents;
use super::records::{CancelOrder, Cancelled};
use super::session::{Session, end, only};
use super::sql::{Sql, sql};
use crate::subject::ChurchId;

impl Store {
    /// Cancels a message of a church: its recipients that no attempt was committed for fail as `cancelled`, in one
    /// transaction. An attempt that Telnyx turns out not to have accepted is not repeated. A second call changes
    /// nothing and returns the same counts.
    ///
    /// # Errors
    /// The database is away. The message may be cancelled all the same; call again.
    pub async fn cancel(&self, order: &CancelOrder<'_>) -> Result<Cancelled, StoreError> {
        let (cancelled, events) = dispatch!(self, db => cancel(db, order).await)?;
        self.committed(&events);
        Ok(cancelled)
    }
}

async fn cancel<D: Database>(db: &D, order: &CancelOrder<'_>) -> Result<(Cancelled, NewEvents), StoreError> {
    let mut tx = db.begin().await?;
    let cancelled = cancel_unsent(&mut tx, order).await;
    end(tx, cancelled).await
}

async fn cancel_unsent<L: Ledger>(
    tx: &mut L,
    order: &CancelOrder<'_>,
) -> Result<(Cancelled, NewEvents), StoreError> {
    // Those under way, too: Telnyx may turn out not to have accepted them. With nobody left the message stays as it is.
    const UNFINISHED: Sql = sql!(
        "select id as value from recipients where message_id = $1 and church_id = $2 and provider_id is null and "
            [open]
    );
    let ids: Vec<Uuid> = tx.fetch(UNFINISHED.bind(order.message_id).bind(order.church_id.as_str())).await?;
    let mut book = Book::open(tx, &[], &ids, Locking::Wait).await?;
    book.trace_parent.clone_from(&order.trace_parent);
    book.cancel(order.message_id, order.by, order.now);
    let events = book.close(tx).await?;
    Ok((count(tx, order.church_id, order.message_id).await?, events))
}

async fn count<S: Session>(tx: &mut S, church: &ChurchId, message: Uuid) -> Result<Cancelled, StoreError> {
    const CANCELLED: Sql =
        sql!("select cancelled_count as value from messages where id = $1 and church_id = $2");
    const LEFT: Sql = sql!(
        "select count(*) as value from recipients
         where message_id = $1 and church_id = $2 and attempted_at is not null"
    );
    let cancelled: i64 = only(tx.fetch(CANCELLED.bind(message).bind(church.as_str())).await?)?;
    let left: i64 = only(tx.fetch(LEFT.bind(message).bind(church.as_str())).await?)?;
    Ok(Cancelled { cancelled, left })
}
