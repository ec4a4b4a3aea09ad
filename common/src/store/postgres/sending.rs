//! Recipients on their way to Telnyx, and the paces of their senders.

use time::OffsetDateTime;
use uuid::Uuid;

use super::Tx;
use crate::event::timestamp::millis;
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
                (select sender, due_at from recipients
                 where attempted_at is null and provider_id is null and rank < 4 and not closed
                 order by sender, due_at limit 1)
                union all
                select next.sender, next.due_at from senders s cross join lateral (
                    select r.sender, r.due_at from recipients r
                    where r.attempted_at is null and r.provider_id is null and r.rank < 4 and not r.closed
                      and r.sender > s.sender
                    order by r.sender, r.due_at limit 1) next
            )
            select sender, due_at from senders";
        read_all(sqlx::query(SQL).fetch_all(self.connection()?).await?)
    }

    async fn read_paces(&mut self, senders: &[&str]) -> Result<Vec<Pace>, StoreError> {
        const SQL: &str = "
            select p.sender, case when p.sender = '*' then p.rate else s.rate end as rate, p.tokens, p.refilled_at,
                   p.held_until, p.reason, p.setbacks, p.noted_at, p.served_at
            from paces p left join senders s on s.number = p.sender
            where p.sender = any($1)";
        read_all(sqlx::query(SQL).bind(senders).fetch_all(self.connection()?).await?)
    }

    async fn lock_paces(&mut self, senders: &[&str]) -> Result<Vec<Pace>, StoreError> {
        const MAKE: &str = "insert into paces (sender, tokens, refilled_at)
            select sender, 0, 'epoch'::timestamptz from unnest($1::text[]) as new (sender) order by sender
            on conflict do nothing";
        const LOCK: &str = "
            select p.sender, case when p.sender = '*' then p.rate else s.rate end as rate, p.tokens, p.refilled_at,
                   p.held_until, p.reason, p.setbacks, p.noted_at, p.served_at
            from paces p left join senders s on s.number = p.sender
            where p.sender = any($1) order by p.sender for update of p";
        sqlx::query(MAKE).bind(senders).execute(self.connection()?).await?;
        read_all(sqlx::query(LOCK).bind(senders).fetch_all(self.connection()?).await?)
    }

    async fn save_paces(&mut self, rows: &[Pace]) -> Result<(), StoreError> {
        if rows.is_empty() {
            return Ok(());
        }
        const SQL: &str = "update paces p
             set rate = case when p.sender = '*' then coalesce(new.rate, p.rate) end, tokens = new.tokens,
                 refilled_at = new.refilled_at, held_until = new.held_until, reason = new.reason,
                 setbacks = new.setbacks, noted_at = new.noted_at, served_at = new.served_at
             from unnest($1::text[], $2::bigint[], $3::float8[], $4::timestamptz[], $5::timestamptz[], $6::text[],
                         $7::bigint[], $8::timestamptz[], $9::timestamptz[])
                  as new (sender, rate, tokens, refilled_at, held_until, reason, setbacks, noted_at, served_at)
             where p.sender = new.sender";
        let moments = |read: fn(&Pace) -> Option<OffsetDateTime>| {
            rows.iter().map(|row| read(row).map(millis)).collect::<Vec<_>>()
        };
        sqlx::query(SQL)
            .bind(rows.iter().map(|p| p.sender.as_str()).collect::<Vec<_>>())
            .bind(rows.iter().map(|p| p.rate).collect::<Vec<_>>())
            .bind(rows.iter().map(|p| p.tokens).collect::<Vec<_>>())
            .bind(rows.iter().map(|p| millis(p.refilled_at)).collect::<Vec<_>>())
            .bind(moments(|p| p.held_until))
            .bind(rows.iter().map(|p| p.reason.clone()).collect::<Vec<_>>())
            .bind(rows.iter().map(|p| i64::from(p.setbacks)).collect::<Vec<_>>())
            .bind(moments(|p| p.noted_at))
            .bind(moments(|p| p.served_at))
            .execute(self.connection()?)
            .await?;
        Ok(())
    }

    /// Fair turns: the first of each church, then the second of each …, beginning after the church served last.
    async fn take_due(&mut self, order: &Order<'_>, budgets: &[Budget]) -> Result<Vec<Attempt>, StoreError> {
        // The churches are found by jumping through the index, not by reading all that waits.
        const DUE: &str = "
            with recursive budgets as (
                select b.sender, b.allowed, b.not_before
                from unnest($4::text[], $5::bigint[], $6::timestamptz[]) as b (sender, allowed, not_before)
            ), queues as (
                select b.sender, b.allowed, b.not_before, (select r.church_id from recipients r
                    where r.attempted_at is null and r.provider_id is null and r.rank < 4 and not r.closed
                      and r.sender = b.sender
                    order by r.church_id limit 1) as church_id
                from budgets b
                union all
                select q.sender, q.allowed, q.not_before, (select r.church_id from recipients r
                    where r.attempted_at is null and r.provider_id is null and r.rank < 4 and not r.closed
                      and r.sender = q.sender and r.church_id > q.church_id
                    order by r.church_id limit 1)
                from queues q where q.church_id is not null
            ), turns as (
                select r.id, r.church_id, q.sender, q.allowed,
                       row_number() over (partition by r.church_id order by r.due_at, r.id) as turn
                from queues q cross join lateral (
                    select r.id, r.church_id, r.due_at from recipients r
                    where r.attempted_at is null and r.provider_id is null and r.rank < 4 and not r.closed
                      and r.sender = q.sender and r.church_id = q.church_id and r.due_at <= $1
                      and (q.not_before is null or exists (
                          select 1 from messages m
                          where m.id = r.message_id and coalesce(m.send_at, m.created_at) >= q.not_before))
                    order by r.due_at, r.id limit least($2, q.allowed)) r
            ), places as (
                select id, church_id, turn, allowed,
                       row_number() over (partition by sender order by turn, church_id <= $3, church_id) as place
                from turns
            )
            select id from places where place <= allowed order by turn, church_id <= $3, church_id limit $2";
        // Another dispatcher's rows are skipped; whatever was attempted meanwhile is no longer due.
        const ATTEMPT: &str = "
            update recipients r set attempted_at = $1, claim_id = $3
            from messages m
            where m.id = r.message_id and r.id in (
                select id from recipients
                where id = any($2) and attempted_at is null and provider_id is null and rank < 4 and not closed
                for update skip locked)
            returning r.id, r.claim_id, r.church_id, r.sender, r.phone, r.tried, m.content, m.media_urls,
                      m.from_number, m.messaging_profile_id";
        let due: Vec<Uuid> = sqlx::query_scalar(DUE)
            .bind(millis(order.now))
            .bind(i64::from(order.limit))
            .bind(order.after)
            .bind(budgets.iter().map(|b| b.sender.as_str()).collect::<Vec<_>>())
            .bind(budgets.iter().map(|b| i64::from(b.allowed)).collect::<Vec<_>>())
            .bind(budgets.iter().map(|b| b.not_before.map(millis)).collect::<Vec<_>>())
            .fetch_all(self.connection()?)
            .await?;
        if due.is_empty() {
            return Ok(Vec::new());
        }
        let query = sqlx::query(ATTEMPT).bind(millis(order.now)).bind(&due).bind(order.claim_id);
        let mut attempts: Vec<Attempt> = read_all(query.fetch_all(self.connection()?).await?)?;
        attempts.sort_by_key(|attempt| due.iter().position(|id| *id == attempt.recipient_id));
        Ok(attempts)
    }

    async fn taken_by(&mut self, claim: &OpenClaim) -> Result<Vec<Attempt>, StoreError> {
        // Locked by their ids alone: that waits for a commit under way, and reads what it wrote.
        const SQL: &str = "
            with locked as materialized (
                select id, claim_id, church_id, sender, phone, tried, message_id, provider_id, rank, closed
                from recipients where id = any($1) order by id for update)
            select r.id, r.claim_id, r.church_id, r.sender, r.phone, r.tried, m.content, m.media_urls, m.from_number,
                   m.messaging_profile_id
            from locked r join messages m on m.id = r.message_id
            where r.claim_id = $2 and r.provider_id is null and r.rank < 4 and not r.closed";
        let query = sqlx::query(SQL).bind(&claim.recipients).bind(claim.id);
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
                  where attempted_at is null and provider_id is null and rank < 4 and not closed and due_at <= $3
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
            where r.attempted_at is null and r.provider_id is null and r.rank < 4 and not r.closed
              and r.sender = $1 and coalesce(m.send_at, m.created_at) < $2
            limit $3";
        let query = sqlx::query_scalar(SQL).bind(sender).bind(millis(before)).bind(i64::from(limit));
        Ok(query.fetch_all(self.connection()?).await?)
    }
}
