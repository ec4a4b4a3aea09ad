//! Changes of the outbox by the relay. They may be lost in a power cut, because the stream knows them, too.

use time::OffsetDateTime;

use super::pool::{Sqlite, begin_on};
use crate::store::failures::StoreError;
use crate::store::outbox_entries::{announced, heirs, positions};
use crate::store::records::{Superseded, Term};
use crate::store::session::Session as _;
use crate::store::sql::{Statement, sql};
use crate::store::transaction::Transaction;

impl Sqlite {
    pub(in crate::store) async fn supersede(
        &self,
        term: Term,
        rows: &[Superseded],
    ) -> Result<(), StoreError> {
        let mark =
            sql!("update outbox set superseded_at = $1 where position " [in 2] " and stream_seq is null");
        let mark = mark.bind(OffsetDateTime::now_utc()).bind(positions(rows));
        let inherit = Statement::from(sql!("update outbox set payload = new.payload from"))
            .push_rows(heirs(rows))
            .push(sql!(" where outbox.position = new.position"));
        let mut tx = self.begin_fenced(term).await?;
        tx.execute(mark).await?;
        tx.execute(inherit).await?;
        tx.commit().await
    }

    pub(in crate::store) async fn mark_announced(
        &self,
        term: Term,
        rows: &[(i64, i64)],
        now: OffsetDateTime,
    ) -> Result<(), StoreError> {
        let mark = sql!("update outbox set stream_seq = new.stream_seq, announced_at = $1 from")
            .bind(now)
            .push_rows(announced(rows))
            .push(sql!(" where outbox.position = new.position"));
        let mut tx = self.begin_fenced(term).await?;
        tx.execute(mark).await?;
        tx.commit().await
    }

    pub(in crate::store) async fn unannounce_above(
        &self,
        term: Term,
        stream_seq: i64,
        limit: u32,
    ) -> Result<u64, StoreError> {
        let unmark = sql!(
            "update outbox set stream_seq = null, announced_at = null where position in (
                 select position from outbox where stream_seq > $1 order by stream_seq desc limit $2)"
        );
        let mut tx = self.begin_fenced(term).await?;
        let rows = tx.execute(unmark.bind(stream_seq).bind(limit)).await?;
        tx.commit().await?;
        Ok(rows)
    }

    pub(in crate::store) async fn set_refused(
        &self,
        term: Term,
        position: i64,
        reason: &str,
    ) -> Result<(), StoreError> {
        let keep = sql!(
            "insert into refused_events
                 (event_id, message_id, version, progress, subject, payload, created_at, trace_parent, refused_at,
                  reason)
             select event_id, message_id, version, progress, subject, payload, created_at, trace_parent, $2, $3
             from outbox where position = $1 and stream_seq is null"
        );
        let take_out = sql!("delete from outbox where position = $1 and stream_seq is null");
        let mut tx = self.begin_fenced(term).await?;
        tx.execute(keep.bind(position).bind(OffsetDateTime::now_utc()).bind(reason)).await?;
        tx.execute(take_out.bind(position)).await?;
        tx.commit().await
    }

    /// Begins a transaction for changes that are valid only in this term. It is the only writer, so no other process
    /// can take the lease meanwhile.
    async fn begin_fenced(&self, term: Term) -> Result<Transaction<sqlx::Sqlite>, StoreError> {
        let find = sql!("select term as value from relay_lease where term = $1");
        let mut tx = begin_on(&self.relay).await?;
        let held: Vec<i64> = tx.fetch(find.bind(term.0)).await?;
        if held.is_empty() { Err(StoreError::LeaseLost) } else { Ok(tx) }
    }
}
