//! Recipients on their way to Telnyx.

use time::OffsetDateTime;
use uuid::Uuid;

use super::Postgres;
use crate::event::timestamp::millis;
use crate::store::columns::read_all;
use crate::store::{Attempt, StoreError};

impl Postgres {
    /// Fair turns: the first of each church, then the second of each …, beginning after the church served last.
    pub(in crate::store) async fn begin_attempts(
        &self,
        limit: u32,
        now: OffsetDateTime,
        after: &str,
    ) -> Result<Vec<Attempt>, StoreError> {
        // The churches are found by jumping through the index of due recipients, not by reading all of those.
        const DUE: &str = "
            with recursive churches as (
                (select church_id from recipients
                 where attempted_at is null and rank < 4 and not closed order by church_id limit 1)
                union all
                select (select r.church_id from recipients r
                        where r.attempted_at is null and r.rank < 4 and not r.closed and r.church_id > c.church_id
                        order by r.church_id limit 1)
                from churches c where c.church_id is not null
            ), turns as (
                select r.id, r.church_id, row_number() over (partition by r.church_id order by r.due_at, r.id) as turn
                from churches c cross join lateral (
                    select id, church_id, due_at from recipients
                    where attempted_at is null and rank < 4 and not closed
                      and church_id = c.church_id and due_at <= $1
                    order by due_at, id limit $2) r
            )
            select id from turns order by turn, church_id <= $3, church_id limit $2";
        // Another dispatcher's rows are skipped; whatever was attempted meanwhile is no longer due.
        const ATTEMPT: &str = "
            update recipients r set attempted_at = $1
            from messages m
            where m.id = r.message_id and r.id in (
                select id from recipients
                where id = any($2) and attempted_at is null and rank < 4 and not closed
                for update skip locked)
            returning r.id, r.church_id, r.phone, r.tried, m.content, m.media_urls, m.from_number,
                      m.messaging_profile_id";
        let due: Vec<Uuid> = sqlx::query_scalar(DUE)
            .bind(millis(now))
            .bind(i64::from(limit))
            .bind(after)
            .fetch_all(&self.pool)
            .await?;
        if due.is_empty() {
            return Ok(Vec::new());
        }
        let mut attempts: Vec<Attempt> =
            read_all(sqlx::query(ATTEMPT).bind(millis(now)).bind(&due).fetch_all(&self.pool).await?)?;
        attempts.sort_by_key(|attempt| due.iter().position(|id| *id == attempt.recipient_id));
        Ok(attempts)
    }

    pub(in crate::store) async fn next_attempt_at(&self) -> Result<Option<OffsetDateTime>, StoreError> {
        const SQL: &str =
            "select min(due_at) from recipients where attempted_at is null and rank < 4 and not closed";
        Ok(sqlx::query_scalar(SQL).fetch_one(&self.pool).await?)
    }
}
