//! What Telnyx is asked for because no webhook told it.

use time::OffsetDateTime;
use uuid::Uuid;

use super::Postgres;
use crate::event::timestamp::millis;
use crate::store::columns::read_all;
use crate::store::{Ask, AskTimes, StoreError};

impl Postgres {
    pub(in crate::store) async fn take_asks(
        &self,
        limit: u32,
        times: &AskTimes,
    ) -> Result<Vec<Ask>, StoreError> {
        const SQL: &str = "
            update recipients set ask_at = $4 where id in (
                select id from recipients
                where ask_at <= greatest($1, $2) and ask_at <= case when asked = 0 then $1 else $2 end
                order by ask_at limit $3 for update skip locked)
            returning id, provider_id, phone, attempted_at, asked";
        let query = sqlx::query(SQL)
            .bind(millis(times.first_before))
            .bind(millis(times.now))
            .bind(i64::from(limit))
            .bind(millis(times.taken_until));
        read_all(query.fetch_all(&self.pool).await?)
    }

    pub(in crate::store) async fn ask_again(
        &self,
        recipients: &[(Uuid, Option<OffsetDateTime>)],
    ) -> Result<(), StoreError> {
        // What has an end is asked for no more. In the order of the ids, as everywhere.
        const SQL: &str = "
            update recipients r set ask_at = new.ask_at, asked = r.asked + 1
            from (select r.id, new.ask_at from recipients r
                  join unnest($1::uuid[], $2::timestamptz[]) as new (id, ask_at) on new.id = r.id
                  where r.ask_at is not null order by r.id for update of r) new
            where r.id = new.id and r.ask_at is not null";
        sqlx::query(SQL)
            .bind(recipients.iter().map(|(id, _)| *id).collect::<Vec<_>>())
            .bind(recipients.iter().map(|(_, at)| at.map(millis)).collect::<Vec<_>>())
            .execute(&self.pool)
            .await?;
        Ok(())
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
                    order by received_at desc limit 1) w)
            select min(at) from (
                (select r.attempted_at as at from recipients r
                 where r.attempted_at > (select at from heard) and r.attempted_at < $2
                   and r.rank < 4 and not r.closed and r.provider_id is not null
                 order by r.attempted_at limit 1)
                union all
                (select w.received_at as at from webhooks w
                 where w.event_type = 'asked' and w.outcome = 'applied' and w.received_at > (select at from heard)
                 order by w.received_at limit 1)) unheard";
        let query = sqlx::query_scalar(SQL).bind(millis(from)).bind(millis(until));
        Ok(query.fetch_one(&self.pool).await?)
    }
}
