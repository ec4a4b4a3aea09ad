//! Recipients on their way to Telnyx.

use time::OffsetDateTime;

use super::{Sqlite, json as json_rows, millis};
use crate::store::columns::read_all;
use crate::store::ledger::{Database as _, Ledger as _};
use crate::store::{Attempt, StoreError};

impl Sqlite {
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
                select min(church_id) as church_id from recipients
                where attempted_at is null and rank < 4 and closed = 0
                union all
                select (select min(r.church_id) from recipients r
                        where r.attempted_at is null and r.rank < 4 and r.closed = 0 and r.church_id > c.church_id)
                from churches c where c.church_id is not null
            ), turns as (
                select r.id, r.church_id, row_number() over (partition by r.church_id order by r.due_at, r.id) as turn
                from churches c join recipients r on r.id in (
                    select due.id from recipients due
                    where due.attempted_at is null and due.rank < 4 and due.closed = 0
                      and due.church_id = c.church_id and due.due_at <= $1
                    order by due.due_at, due.id limit $2)
            )
            select id from turns order by turn, church_id <= $3, church_id limit $2";
        const ATTEMPT: &str = "update recipients set attempted_at = $1
            where id in (select value from json_each($2)) and attempted_at is null";
        const READ: &str = "
            select r.id, r.church_id, r.phone, r.tried, m.content, m.media_urls, m.from_number, m.messaging_profile_id
            from json_each($1) as due
            join recipients r on r.id = due.value
            join messages m on m.id = r.message_id
            order by due.key";
        let due = |sql: &'static str| {
            sqlx::query_scalar::<_, String>(sql).bind(millis(now)).bind(limit).bind(after)
        };
        // Most often nothing is due; that is seen without the one writer.
        if due(DUE).fetch_all(&self.readers).await?.is_empty() {
            return Ok(Vec::new());
        }
        let mut tx = self.begin().await?;
        let ids = due(DUE).fetch_all(tx.connection()?).await?;
        let ids = json_rows(ids.into_iter().map(Into::into));
        sqlx::query(ATTEMPT).bind(millis(now)).bind(&ids).execute(tx.connection()?).await?;
        let attempts = read_all(sqlx::query(READ).bind(&ids).fetch_all(tx.connection()?).await?)?;
        tx.commit().await?;
        Ok(attempts)
    }

    pub(in crate::store) async fn next_attempt_at(&self) -> Result<Option<OffsetDateTime>, StoreError> {
        const SQL: &str =
            "select min(due_at) from recipients where attempted_at is null and rank < 4 and closed = 0";
        let due: Option<i64> = sqlx::query_scalar(SQL).fetch_one(&self.readers).await?;
        Ok(due.and_then(|ms| OffsetDateTime::from_unix_timestamp_nanos(i128::from(ms) * 1_000_000).ok()))
    }
}
