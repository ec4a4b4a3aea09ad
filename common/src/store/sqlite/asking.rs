//! What Telnyx is asked for because no webhook told it.

use serde_json::json;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{Sqlite, json as json_rows, millis};
use crate::store::columns::read_all;
use crate::store::ledger::{Database as _, Ledger as _};
use crate::store::{Ask, AskTimes, StoreError};

impl Sqlite {
    pub(in crate::store) async fn take_asks(
        &self,
        limit: u32,
        times: &AskTimes,
    ) -> Result<Vec<Ask>, StoreError> {
        const DUE: &str = "
            select id from recipients
            where ask_at <= max($1, $2) and ask_at <= case when asked = 0 then $1 else $2 end
            order by ask_at limit $3";
        const TAKE: &str = "update recipients set ask_at = $1
            where id in (select value from json_each($2)) and ask_at is not null
            returning id, provider_id, phone, attempted_at, asked";
        let due = || {
            let query = sqlx::query_scalar::<_, String>(DUE);
            query.bind(millis(times.first_before)).bind(millis(times.now)).bind(limit)
        };
        // Most often nothing is due; that is seen without the one writer.
        if due().fetch_all(&self.readers).await?.is_empty() {
            return Ok(Vec::new());
        }
        let mut tx = self.begin().await?;
        let ids = due().fetch_all(tx.connection()?).await?;
        let ids = json_rows(ids.into_iter().map(Into::into));
        let take = sqlx::query(TAKE).bind(millis(times.taken_until)).bind(ids);
        let asks = read_all(take.fetch_all(tx.connection()?).await?)?;
        tx.commit().await?;
        Ok(asks)
    }

    pub(in crate::store) async fn ask_again(
        &self,
        recipients: &[(Uuid, Option<OffsetDateTime>)],
    ) -> Result<(), StoreError> {
        // What has an end is asked for no more.
        const SQL: &str = "update recipients set ask_at = new.value ->> 'ask_at', asked = asked + 1
             from json_each($1) as new
             where recipients.id = new.value ->> 'id' and recipients.ask_at is not null";
        let row = |(id, at): &(Uuid, Option<OffsetDateTime>)| json!({"id": id, "ask_at": at.map(millis)});
        let mut tx = self.begin().await?;
        sqlx::query(SQL).bind(json_rows(recipients.iter().map(row))).execute(tx.connection()?).await?;
        tx.commit().await
    }

    pub(in crate::store) async fn unheard_since(
        &self,
        from: OffsetDateTime,
        until: OffsetDateTime,
    ) -> Result<Option<OffsetDateTime>, StoreError> {
        const SQL: &str = "
            with heard as (
                select coalesce(max(received_at), $1) as at from (
                    select received_at from webhooks
                    where received_at > $1 and outcome in ('applied', 'stale') and event_type <> 'asked'
                    order by received_at desc limit 1))
            select min(at) from (
                select min(r.attempted_at) as at from recipients r
                where r.attempted_at > (select at from heard) and r.attempted_at < $2
                  and r.rank < 4 and r.closed = 0 and r.provider_id is not null
                union all
                select min(w.received_at) from webhooks w
                where w.event_type = 'asked' and w.outcome = 'applied'
                  and w.received_at > (select at from heard))";
        let query = sqlx::query_scalar::<_, Option<i64>>(SQL).bind(millis(from)).bind(millis(until));
        let at = query.fetch_one(&self.readers).await?;
        Ok(at.and_then(|ms| OffsetDateTime::from_unix_timestamp_nanos(i128::from(ms) * 1_000_000).ok()))
    }
}
