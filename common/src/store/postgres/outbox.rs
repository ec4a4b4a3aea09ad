//! Changes of the outbox by the relay.
//!
//! Each change is one statement, so that no lock outlives its process. It locks the lease's row for share, so that no
//! other process can take the lease meanwhile.

use time::OffsetDateTime;

use super::pool::Postgres;
use crate::store::failures::StoreError;
use crate::store::outbox_entries::{announced, heirs, positions};
use crate::store::records::{Superseded, Term};
use crate::store::sql::{Statement, sql};

impl Postgres {
    pub(in crate::store) async fn supersede(
        &self,
        term: Term,
        rows: &[Superseded],
    ) -> Result<(), StoreError> {
        let change = sql!(
            "with lease as (select term from relay_lease where term = $1 for share),
                superseded as (
                    update outbox o set superseded_at = now() from lease
                    where o.position = any($2) and o.stream_seq is null
                    returning 1)
             update outbox o set payload = new.payload from lease,"
        );
        let change = change.bind(term.0).bind(positions(rows)).push_rows(heirs(rows));
        self.fenced(term, change.push(sql!(" where o.position = new.position"))).await.map(drop)
    }

    pub(in crate::store) async fn mark_announced(
        &self,
        term: Term,
        rows: &[(i64, i64)],
        now: OffsetDateTime,
    ) -> Result<(), StoreError> {
        let change = sql!(
            "with lease as (select term from relay_lease where term = $1 for share)
             update outbox o set stream_seq = new.stream_seq, announced_at = $2 from lease,"
        );
        let change = change.bind(term.0).bind(now).push_rows(announced(rows));
        self.fenced(term, change.push(sql!(" where o.position = new.position"))).await.map(drop)
    }

    pub(in crate::store) async fn unannounce_above(
        &self,
        term: Term,
        stream_seq: i64,
        limit: u32,
    ) -> Result<u64, StoreError> {
        let change = sql!(
            "with lease as (select term from relay_lease where term = $1 for share)
             update outbox o set stream_seq = null, announced_at = null from lease
             where o.position in (
                 select position from outbox where stream_seq > $2 order by stream_seq desc limit $3)"
        );
        self.fenced(term, change.bind(term.0).bind(stream_seq).bind(limit)).await
    }

    pub(in crate::store) async fn set_refused(
        &self,
        term: Term,
        position: i64,
        reason: &str,
    ) -> Result<(), StoreError> {
        let change = sql!(
            "with lease as (select term from relay_lease where term = $1 for share),
                refused as (
                    delete from outbox o using lease where o.position = $2 and o.stream_seq is null
                    returning o.event_id, o.message_id, o.version, o.progress, o.subject, o.payload, o.created_at,
                        o.trace_parent)
             insert into refused_events
                 (event_id, message_id, version, progress, subject, payload, created_at, trace_parent, refused_at,
                  reason)
             select event_id, message_id, version, progress, subject, payload, created_at, trace_parent, now(), $3
             from refused"
        );
        self.fenced(term, change.bind(term.0).bind(position).bind(reason)).await.map(drop)
    }

    /// Makes a change that is valid only in this term. Returns how many rows it changed.
    async fn fenced(&self, term: Term, change: Statement<'_>) -> Result<u64, StoreError> {
        let rows = self.pool.execute(change).await?;
        if rows == 0 {
            self.ensure_term(term).await?;
        }
        Ok(rows)
    }

    async fn ensure_term(&self, term: Term) -> Result<(), StoreError> {
        let find = sql!("select term as value from relay_lease where term = $1");
        let held: Vec<i64> = self.pool.fetch(find.bind(term.0)).await?;
        if held.is_empty() { Err(StoreError::LeaseLost) } else { Ok(()) }
    }
}
