//! Recipients on their way to Telnyx, and the paces of their senders.

use serde_json::json;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{Tx, json as json_rows, json_ids, json_texts, millis};
use crate::store::StoreError;
use crate::store::columns::{Read as _, read_all};
use crate::store::records::Attempt;
use crate::store::sending::claims::{Budget, Claims, OpenClaim, Order, Queue, WaitingSender};
use crate::store::sending::pace::Pace;
use crate::subject::ChurchId;

impl Claims for Tx {
    async fn waiting_senders(&mut self) -> Result<Vec<WaitingSender>, StoreError> {
        // By jumping through the index from sender to sender, not by reading all that waits.
        const SQL: &str = "
            with recursive senders as (
                select min(sender) as sender from recipients
                where attempted_at is null and provider_id is null and rank < 4 and closed = 0
                union all
                select (select min(r.sender) from recipients r
                        where r.attempted_at is null and r.provider_id is null and r.rank < 4 and r.closed = 0
                          and r.sender > s.sender)
                from senders s where s.sender is not null
            )
            select s.sender, (select min(r.due_at) from recipients r
                              where r.attempted_at is null and r.provider_id is null and r.rank < 4 and r.closed = 0
                                and r.sender = s.sender) as due_at
            from senders s where s.sender is not null";
        read_all(sqlx::query(SQL).fetch_all(self.connection()?).await?)
    }

    async fn read_paces(&mut self, senders: &[&str]) -> Result<Vec<Pace>, StoreError> {
        const SQL: &str = "
            select p.sender, case when p.sender = '*' then p.rate else s.rate end as rate, p.tokens, p.refilled_at,
                   p.held_until, p.reason, p.setbacks, p.noted_at, p.served_at
            from paces p left join senders s on s.number = p.sender
            where p.sender in (select value from json_each($1))";
        read_all(sqlx::query(SQL).bind(json_texts(senders)).fetch_all(self.connection()?).await?)
    }

    async fn lock_paces(&mut self, senders: &[&str]) -> Result<Vec<Pace>, StoreError> {
        const MAKE: &str = "insert into paces (sender, tokens, refilled_at)
            select value, 0, 0 from json_each($1) where true on conflict do nothing";
        sqlx::query(MAKE).bind(json_texts(senders)).execute(self.connection()?).await?;
        self.read_paces(senders).await
    }

    async fn save_paces(&mut self, rows: &[Pace]) -> Result<(), StoreError> {
        if rows.is_empty() {
            return Ok(());
        }
        const SQL: &str = "update paces
             set rate = case when paces.sender = '*' then coalesce(new.value ->> 'rate', paces.rate) end,
                 tokens = new.value ->> 'tokens',
                 refilled_at = new.value ->> 'refilled_at', held_until = new.value ->> 'held_until',
                 reason = new.value ->> 'reason', setbacks = new.value ->> 'setbacks',
                 noted_at = new.value ->> 'noted_at', served_at = new.value ->> 'served_at'
             from json_each($1) as new
             where paces.sender = new.value ->> 'sender'";
        let row = |p: &Pace| {
            json!({
                "sender": p.sender,
                "rate": p.rate,
                "tokens": p.tokens,
                "refilled_at": millis(p.refilled_at),
                "held_until": p.held_until.map(millis),
                "reason": p.reason,
                "setbacks": p.setbacks,
                "noted_at": p.noted_at.map(millis),
                "served_at": p.served_at.map(millis),
            })
        };
        sqlx::query(SQL).bind(json_rows(rows.iter().map(row))).execute(self.connection()?).await?;
        Ok(())
    }

    /// Fair turns: the first of each church, then the second of each …, beginning after the church served last.
    async fn take_due(&mut self, order: &Order<'_>, budgets: &[Budget]) -> Result<Vec<Attempt>, StoreError> {
        // The churches are found by jumping through the index, not by reading all that waits.
        const DUE: &str = "
            with recursive queues as (
                select value ->> 'sender' as sender, value ->> 'allowed' as allowed,
                       value ->> 'not_before' as not_before,
                       (select min(r.church_id) from recipients r
                        where r.attempted_at is null and r.provider_id is null and r.rank < 4 and r.closed = 0
                          and r.sender = value ->> 'sender') as church_id
                from json_each($4)
                union all
                select q.sender, q.allowed, q.not_before,
                       (select min(r.church_id) from recipients r
                        where r.attempted_at is null and r.provider_id is null and r.rank < 4 and r.closed = 0
                          and r.sender = q.sender and r.church_id > q.church_id)
                from queues q where q.church_id is not null
            ), turns as (
                select r.id, r.church_id, q.sender, q.allowed,
                       row_number() over (partition by r.church_id order by r.due_at, r.id) as turn
                from queues q join recipients r on r.id in (
                    select due.id from recipients due
                    where due.attempted_at is null and due.provider_id is null and due.rank < 4 and due.closed = 0
                      and due.sender = q.sender and due.church_id = q.church_id and due.due_at <= $1
                      and (q.not_before is null or exists (
                          select 1 from messages m
                          where m.id = due.message_id and coalesce(m.send_at, m.created_at) >= q.not_before))
                    order by due.due_at, due.id limit $2)
            ), places as (
                select id, church_id, turn, allowed,
                       row_number() over (partition by sender order by turn, church_id <= $3, church_id) as place
                from turns
            )
            select id from places where place <= allowed order by turn, church_id <= $3, church_id limit $2";
        const ATTEMPT: &str = "update recipients set attempted_at = $1, claim_id = $3
            where id in (select value from json_each($2)) and attempted_at is null and provider_id is null";
        const READ: &str = "
            select r.id, r.claim_id, r.church_id, r.sender, r.phone, r.tried, m.content, m.media_urls, m.from_number,
                   m.messaging_profile_id
            from json_each($1) as due
            join recipients r on r.id = due.value
            join messages m on m.id = r.message_id
            where r.claim_id = $2
            order by due.key";
        let budgets = budgets.iter().map(
            |b| json!({"sender": b.sender, "allowed": b.allowed, "not_before": b.not_before.map(millis)}),
        );
        let due = sqlx::query_scalar::<_, String>(DUE)
            .bind(millis(order.now))
            .bind(order.limit)
            .bind(order.after)
            .bind(json_rows(budgets));
        let ids = due.fetch_all(self.connection()?).await?;
        let (ids, claim_id) = (json_rows(ids.into_iter().map(Into::into)), order.claim_id.to_string());
        let attempt = sqlx::query(ATTEMPT).bind(millis(order.now)).bind(&ids).bind(&claim_id);
        attempt.execute(self.connection()?).await?;
        read_all(sqlx::query(READ).bind(&ids).bind(&claim_id).fetch_all(self.connection()?).await?)
    }

    async fn taken_by(&mut self, claim: &OpenClaim) -> Result<Vec<Attempt>, StoreError> {
        const SQL: &str = "
            select r.id, r.claim_id, r.church_id, r.sender, r.phone, r.tried, m.content, m.media_urls, m.from_number,
                   m.messaging_profile_id
            from recipients r join messages m on m.id = r.message_id
            where r.id in (select value from json_each($1)) and r.claim_id = $2
              and r.provider_id is null and r.rank < 4 and r.closed = 0";
        let query = sqlx::query(SQL).bind(json_ids(&claim.recipients)).bind(claim.id.to_string());
        read_all(query.fetch_all(self.connection()?).await?)
    }

    async fn queue(
        &mut self,
        church: &ChurchId,
        sender: &str,
        now: OffsetDateTime,
    ) -> Result<Queue, StoreError> {
        const SQL: &str = "
            select count(*) as everybody, count(*) filter (where church_id = $1) as of_church,
                   count(*) filter (where sender = $2) as of_sender, count(distinct church_id) as churches
            from (select church_id, sender from recipients
                  where attempted_at is null and provider_id is null and rank < 4 and closed = 0 and due_at <= $3
                  limit 100000) r";
        let query = sqlx::query(SQL).bind(church.as_str()).bind(sender).bind(millis(now));
        Queue::read(&query.fetch_one(self.connection()?).await?)
    }

    async fn waiting_since(
        &mut self,
        sender: &str,
        before: OffsetDateTime,
        limit: u32,
    ) -> Result<Vec<Uuid>, StoreError> {
        const SQL: &str = "
            select r.id from recipients r join messages m on m.id = r.message_id
            where r.attempted_at is null and r.provider_id is null and r.rank < 4 and r.closed = 0
              and r.sender = $1 and coalesce(m.send_at, m.created_at) < $2
            limit $3";
        let query = sqlx::query_scalar::<_, String>(SQL).bind(sender).bind(millis(before)).bind(limit);
        let ids = query.fetch_all(self.connection()?).await?;
        let id = |id: String| id.parse().map_err(|_| StoreError::Unreadable("id is no id".into()));
        ids.into_iter().map(id).collect()
    }
}
