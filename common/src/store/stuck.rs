//! What waits, for operators: recipients that wait for longer than they should, and how much waits in all. Each read
//! looks at a limited number of rows, those that wait longest first.

use time::{Duration, OffsetDateTime};

use super::columns::{Columns, Read, unreadable};
use super::database::Database as _;
use super::failures::StoreError;
use super::handle::{Store, dispatch};
use super::records::{Backlog, Stuck, StuckQuery, Waiting};
use super::session::only;
use super::sql::{Sql, Statement, sql};

/// Recipients of each kind that are looked at.
const LOOKED_AT: u32 = 10_000;
/// An answer of Telnyx may take this long.
const ANSWER: Duration = Duration::minutes(1);

impl Store {
    /// Lists messages with recipients that wait for longer than they should, those that wait longest first.
    ///
    /// # Errors
    /// The database is away.
    pub async fn stuck(&self, query: &StuckQuery) -> Result<Vec<Stuck>, StoreError> {
        dispatch!(self, db => db.fetch(stuck(query)).await)
    }

    /// Counts recipients that wait, each kind up to a limit.
    ///
    /// # Errors
    /// The database is away.
    pub async fn backlog(&self, now: OffsetDateTime, limit: u32) -> Result<Backlog, StoreError> {
        let count = BACKLOG.bind(now).bind(now - ANSWER).bind(limit);
        only(dispatch!(self, db => db.fetch(count.clone()).await)?)
    }
}

pub(super) fn stuck(query: &StuckQuery) -> Statement<'_> {
    STUCK
        .bind(query.before)
        .bind(LOOKED_AT)
        .bind(query.limit)
        .bind(query.waiting.map(<&str>::from))
        .bind(query.church.as_ref().map(|church| church.as_str()))
        .push(match (query.waiting, &query.church) {
            (None, None) => None,
            (Some(_), None) => Some(sql!(" where o.waiting = $4")),
            (None, Some(_)) => Some(sql!(" where m.church_id = $5")),
            (Some(_), Some(_)) => Some(sql!(" where o.waiting = $4 and m.church_id = $5")),
        })
        .push(sql!(
            " group by m.church_id, o.message_id, o.waiting order by since, o.message_id, o.waiting limit $3"
        ))
}

/// Without `indexed by` SQLite takes the unique index of provider ids and reads all recipients that have none.
const STUCK: Sql = Sql {
    postgres: "select m.church_id, o.message_id, o.waiting, count(1) as recipients, min(o.since) as since
         from (
             select a.message_id, 'unsent' as waiting, a.due_at as since from (
                 select message_id, due_at from recipients
                 where attempted_at is null and provider_id is null and not finished and due_at < $1
                 order by due_at limit $2) a
             union all
             select b.message_id, 'unanswered', b.attempted_at from (
                 select message_id, attempted_at from recipients
                 where attempted_at < $1 and provider_id is null and not finished
                 order by attempted_at limit $2) b
             union all
             select c.message_id, 'unreported', c.attempted_at from (
                 select message_id, attempted_at from recipients
                 where attempted_at < $1 and provider_id is not null and not finished
                 order by attempted_at limit $2) c
         ) o join messages m on m.id = o.message_id",
    sqlite: "select m.church_id, o.message_id, o.waiting, count(1) as recipients, min(o.since) as since
         from (
             select a.message_id, 'unsent' as waiting, a.due_at as since from (
                 select message_id, due_at from recipients indexed by recipients_waiting
                 where attempted_at is null and provider_id is null and rank < 4 and closed = 0 and due_at < $1
                 order by due_at limit $2) a
             union all
             select b.message_id, 'unanswered', b.attempted_at from (
                 select message_id, attempted_at from recipients indexed by recipients_unresolved
                 where attempted_at < $1 and provider_id is null and rank < 4 and closed = 0
                 order by attempted_at limit $2) b
             union all
             select c.message_id, 'unreported', c.attempted_at from (
                 select message_id, attempted_at from recipients indexed by recipients_overdue
                 where attempted_at < $1 and provider_id is not null and rank < 4 and closed = 0
                 order by attempted_at limit $2) c
         ) o join messages m on m.id = o.message_id",
};

pub(super) const BACKLOG: Sql = Sql {
    postgres: "select
         (select count(1) from (select 1 from recipients
             where attempted_at is null and provider_id is null and not finished and due_at <= $1
             limit $3) a) as due,
         (select count(1) from (select 1 from recipients
             where attempted_at < $2 and provider_id is null and not finished limit $3) b) as unanswered",
    sqlite: "select
         (select count(1) from (select 1 from recipients indexed by recipients_waiting
             where attempted_at is null and provider_id is null and rank < 4 and closed = 0 and due_at <= $1
             limit $3) a) as due,
         (select count(1) from (select 1 from recipients indexed by recipients_unresolved
             where attempted_at < $2 and provider_id is null and rank < 4 and closed = 0 limit $3) b) as unanswered",
};

impl Read for Stuck {
    fn read(row: &impl Columns) -> Result<Self, StoreError> {
        let waiting: Result<Waiting, _> = row.text("waiting")?.parse();
        Ok(Self {
            church_id: row.church()?,
            message_id: row.id("message_id")?,
            waiting: waiting.map_err(|_| unreadable("waiting"))?,
            recipients: row.number("recipients")?,
            since: row.time("since")?,
        })
    }
}

impl Read for Backlog {
    fn read(row: &impl Columns) -> Result<Self, StoreError> {
        Ok(Self { due: row.number("due")?, unanswered: row.number("unanswered")? })
    }
}
