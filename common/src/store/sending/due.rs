//! Takes due recipients in fair turns: the first of each church, then the second of each, and so on, beginning after
//! the church that was served last.

use uuid::Uuid;

use crate::store::bulk;
use crate::store::columns::{Columns, Read, unreadable};
use crate::store::failures::StoreError;
use crate::store::records::{Attempt, AttemptId};
use crate::store::rows::{Budget, Claim};
use crate::store::session::Session;
use crate::store::sql::{Sql, Statement, sql};

/// Marks due recipients with the claim's id and reads them.
pub(super) async fn take_due<S: Session>(
    tx: &mut S,
    claim: &Claim<'_>,
    budgets: &[Budget],
) -> Result<Vec<Attempt>, StoreError> {
    // Skips recipients that another transaction holds, and those that were attempted meanwhile. Waiting for them would
    // stop all sending, because the claim holds the paces.
    const ATTEMPT: Sql = sql!(
        "update recipients set attempted_at = $1, claim_id = $2
         where id in (select id from recipients where id " [in 3] " and " [still unsent] [skip locked] ")
         returning id as value"
    );
    let due: Vec<Uuid> = tx.fetch(due_recipients(claim, budgets)).await?;
    if due.is_empty() {
        return Ok(Vec::new());
    }
    let taken: Vec<Uuid> = tx.fetch(ATTEMPT.bind(claim.now).bind(claim.id).bind(due.as_slice())).await?;
    let mut attempts: Vec<Attempt> = tx.fetch(READ_ATTEMPTS.bind(taken.as_slice()).bind(claim.id)).await?;
    attempts.sort_by_key(|attempt| due.iter().position(|id| *id == attempt.recipient_id));
    Ok(attempts)
}

/// Finds due recipients in the order of their turns. Jumps through the index from church to church instead of reading
/// all waiting recipients.
pub(in crate::store) fn due_recipients<'a>(claim: &Claim<'a>, budgets: &[Budget]) -> Statement<'a> {
    let budgets = bulk::rows(budgets)
        .text("sender", |budget| &budget.sender)
        .number("allowed", |budget| budget.allowed.into())
        .opt_time("not_before", |budget| budget.not_before)
        .build();
    BUDGETS
        .bind(claim.now)
        .bind(claim.limit)
        .bind(claim.after)
        .push_rows(budgets)
        .push(QUEUES)
        .push(TURNS)
        .push(PLACES)
}

const BUDGETS: Sql = sql!("with recursive budgets as (select sender, allowed, not_before from");

/// The churches of each sender.
const QUEUES: Sql = sql!(
    "), queues as (
         select b.sender, b.allowed, b.not_before, (
             select church_id from recipients where " [in turn] " and sender = b.sender
             order by church_id limit 1) as church_id
         from budgets b
         union all
         select q.sender, q.allowed, q.not_before, (
             select church_id from recipients where " [in turn] " and sender = q.sender and church_id > q.church_id
             order by church_id limit 1)
         from queues q where q.church_id is not null
     ), turns as (
         select r.id, r.church_id, q.sender, q.allowed,
                row_number() over (partition by r.church_id order by r.due_at, r.id) as turn
         from queues q"
);

/// The first recipients of each queue.
const TURNS: Sql = Sql {
    postgres: " cross join lateral (
         select r.id, r.church_id, r.due_at from recipients r
         where r.attempted_at is null and not r.finished
           and r.sender = q.sender and r.church_id = q.church_id and r.due_at <= $1
           and (q.not_before is null or exists (
               select 1 from messages m
               where m.id = r.message_id and coalesce(m.send_at, m.created_at) >= q.not_before))
         order by r.due_at, r.id limit least($2, q.allowed)) r
         where q.church_id not in (select church_id from pauses)",
    sqlite: " join recipients r on r.id in (
         select due.id from recipients due
         where due.attempted_at is null and likely(due.provider_id is null) and due.rank < 4 and due.closed = 0
           and due.sender = q.sender and due.church_id = q.church_id and due.due_at <= $1
           and (q.not_before is null or exists (
               select 1 from messages m
               where m.id = due.message_id and coalesce(m.send_at, m.created_at) >= q.not_before))
         order by due.due_at, due.id limit $2)
         where q.church_id not in (select church_id from pauses)",
};

const PLACES: Sql = sql!(
    "), places as (
         select id, church_id, turn, allowed,
                row_number() over (partition by sender order by turn, church_id <= $3, church_id) as place
         from turns
     )
     select id as value from places where place <= allowed order by turn, church_id <= $3, church_id limit $2"
);

/// Those of these recipients ($1) that belong to a claim ($2) and still have to be sent. PostgreSQL locks them by id
/// alone: that waits for a running commit and reads what it wrote.
pub(in crate::store) const READ_ATTEMPTS: Sql = Sql {
    postgres: "with locked as materialized (
            select id, claim_id, church_id, sender, phone, tried, message_id, provider_id, finished
            from recipients where id = any($1) order by id for update)
        select r.id, r.claim_id, r.church_id, r.sender, r.phone, r.tried, m.content, m.media_urls, m.from_number,
               m.messaging_profile_id
        from locked r join messages m on m.id = r.message_id
        where r.claim_id = $2 and r.provider_id is null and not r.finished",
    sqlite: "select r.id, r.claim_id, r.church_id, r.sender, r.phone, r.tried, m.content, m.media_urls,
               m.from_number, m.messaging_profile_id
        from recipients r join messages m on m.id = r.message_id
        where r.id in (select value from json_each($1)) and r.claim_id = $2
          and likely(r.provider_id is null) and r.rank < 4 and r.closed = 0",
};

impl Read for Attempt {
    fn read(row: &impl Columns) -> Result<Self, StoreError> {
        let media_urls = row.text("media_urls")?;
        Ok(Self {
            id: AttemptId { recipient_id: row.id("id")?, claim_id: row.id("claim_id")? },
            recipient_id: row.id("id")?,
            church_id: row.church()?,
            sender: row.text("sender")?,
            phone: row.text("phone")?,
            content: row.text("content")?,
            media_urls: serde_json::from_str(&media_urls).map_err(|_| unreadable("media_urls"))?,
            from_number: row.opt_text("from_number")?,
            messaging_profile_id: row.opt_text("messaging_profile_id")?,
            tried: row.count("tried")?,
        })
    }
}
