//! The history: pages of a church's messages, newest first.
//!
//! A page is found by ids alone, which the indexes hold, and only its own rows are read. The index has the messages of
//! one status in order, so several statuses are read side by side. What changed since a moment is known from the outbox
//! as far back as that is kept: an index on the time of the last change would be written with every change.

use time::{Duration, OffsetDateTime};

use super::columns::{Columns, Read};
use super::database::Database;
use super::failures::StoreError;
use super::handle::{Store, dispatch};
use super::records::{HistoryPage, HistoryQuery, Message, Total};
use super::session::only;
use super::sql::{Sql, Statement, sql};
use crate::status::MessageStatus;
use crate::subject::{self, ChurchId, Topic};

/// Matching messages are counted up to this number.
const COUNTED: u32 = 10_000;
/// Events are deleted by the time of the relay's clock, and made by the times of others.
const CLOCKS_DIFFER: Duration = Duration::MINUTE;

impl Store {
    /// A page of a church's messages, newest first.
    ///
    /// # Errors
    /// The database is away.
    pub async fn history(&self, church: &ChurchId, query: &HistoryQuery) -> Result<HistoryPage, StoreError> {
        dispatch!(self, db => history(db, church, query).await)
    }
}

async fn history<D: Database>(
    db: &D,
    church: &ChurchId,
    query: &HistoryQuery,
) -> Result<HistoryPage, StoreError> {
    let Some(since) = query.updated_since else { return read(db, church, query, Changes::All).await };
    if outbox_reaches(db, since).await? {
        let page = read(db, church, query, Changes::InOutbox).await?;
        // Nothing was deleted meanwhile.
        if outbox_reaches(db, since).await? {
            return Ok(page);
        }
    }
    read(db, church, query, Changes::ByTime).await
}

async fn read<D: Database>(
    db: &D,
    church: &ChurchId,
    query: &HistoryQuery,
    changes: Changes,
) -> Result<HistoryPage, StoreError> {
    let found: Vec<Found> = db.fetch(page_of(church, query, changes)).await?;
    let total = match found.first() {
        _ if query.before.is_some() => None,
        None if query.offset > 0 => Some(total_of(db, church, query, changes).await?),
        first => Some(total(first)),
    };
    Ok(HistoryPage { messages: found.into_iter().map(|found| found.message).collect(), total })
}

/// The total of a page that is behind the last one: it stands with the messages of the first.
async fn total_of<D: Database>(
    db: &D,
    church: &ChurchId,
    query: &HistoryQuery,
    changes: Changes,
) -> Result<Total, StoreError> {
    let first = HistoryQuery { limit: 1, offset: 0, ..query.clone() };
    let found: Vec<Found> = db.fetch(page_of(church, &first, changes)).await?;
    Ok(total(found.first()))
}

fn total(found: Option<&Found>) -> Total {
    let counted = found.map_or(0, |found| found.counted);
    let limit = u64::from(COUNTED);
    Total { messages: counted.min(limit), more: counted > limit }
}

/// A message of a page, with the number of all that match: at least as far as [`COUNTED`] goes.
struct Found {
    message: Message,
    counted: u64,
}

impl Read for Found {
    fn read(row: &impl Columns) -> Result<Self, StoreError> {
        let counted = u64::try_from(row.number("counted")?).unwrap_or(0);
        Ok(Self { message: Message::read(row)?, counted })
    }
}

/// How messages that changed are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Changes {
    /// They are not asked for.
    All,
    /// By their events.
    InOutbox,
    /// By looking at each message: the outbox is not kept for so long.
    ByTime,
}

/// Whether the outbox still has every change since a moment.
async fn outbox_reaches<D: Database>(db: &D, since: OffsetDateTime) -> Result<bool, StoreError> {
    const REACHES: Sql = sql!("select count(*) as value from outbox_horizon where pruned_until < $1");
    let reaches: i64 = only(db.fetch(REACHES.bind(since - CLOCKS_DIFFER)).await?)?;
    Ok(reaches > 0)
}

/// A page, and in each of its rows the number of all messages that match; of a page by cursor nothing is counted.
pub(super) fn page_of<'a>(church: &'a ChurchId, query: &HistoryQuery, changes: Changes) -> Statement<'a> {
    const MESSAGES: Sql = sql!("select " [message] ", (select count(*) from ");
    const OF_IDS: Sql = sql!(") as counted from messages where id in (select id from ");
    const PAGE: Sql =
        sql!(" order by created_at desc, id desc limit $5 offset $6) order by created_at desc, id desc");
    const BEGIN: Sql = sql!("(");
    const END: Sql = sql!(") matching");
    let statement = if changes == Changes::All {
        // From an index alone, which costs less than keeping ten thousand ids.
        let counting = Statement::from(MESSAGES).push(BEGIN);
        let paging = matching(counting, query, changes, sql!(" limit $9")).push(END).push(OF_IDS).push(BEGIN);
        matching(paging, query, changes, sql!(" limit $10")).push(END)
    } else {
        // Changed messages are found once for both.
        let finding = Statement::from(sql!("with matching as materialized ("));
        let found = matching(finding, query, changes, sql!(" limit $11")).push(sql!(") "));
        found.push(MESSAGES).push(sql!("matching")).push(OF_IDS).push(sql!("matching"))
    };
    let to_count = if query.before.is_some() { 0 } else { u64::from(COUNTED) + 1 };
    let to_show = query.offset.saturating_add(query.limit.into());
    let number = |rows: u64| i64::try_from(rows).unwrap_or(i64::MAX);
    statement
        .push(PAGE)
        .bind(church.as_str())
        .bind(query.updated_since)
        .bind(query.before.map(|(created_at, _)| created_at))
        .bind(query.before.map(|(_, id)| id))
        .bind(query.limit)
        .bind(number(query.offset))
        .bind(subject::church(church, Topic::Sent))
        .bind(subject::church(church, Topic::Status))
        .bind(number(to_count))
        .bind(number(to_show))
        .bind(number(to_count.max(to_show)))
}

/// The ids of the newest messages of each status, up to a limit.
fn matching<'a>(
    mut statement: Statement<'a>,
    query: &HistoryQuery,
    changes: Changes,
    limit: Sql,
) -> Statement<'a> {
    const SELECT: Sql = sql!("select id, created_at from (select id, created_at from messages where ");
    const OF_CHURCH: Sql = sql!("church_id = $1");
    // With the church's index SQLite reads the whole history and looks for each message in the outbox.
    const OF_CHURCH_WITHOUT_INDEX: Sql = Sql { postgres: OF_CHURCH.postgres, sqlite: "+church_id = $1" };
    const CHANGED: Sql = sql!(" and updated_at >= $2");
    const HAS_EVENT: Sql = sql!(
        " and id in (
             select message_id from outbox where subject in ($7, $8) and created_at >= $2
             union all
             select message_id from refused_events where subject in ($7, $8) and created_at >= $2)"
    );
    const OLDER: Sql = sql!(" and (created_at, id) < ($3, $4)");
    const NEWEST: Sql = sql!(" order by created_at desc, id desc");
    let statuses: Vec<Option<MessageStatus>> = match query.statuses.as_slice() {
        [] => vec![None],
        some => some.iter().copied().map(Some).collect(),
    };
    for (number, status) in statuses.into_iter().enumerate() {
        statement = statement
            .push((number > 0).then_some(sql!(" union all ")))
            .push(SELECT)
            .push(if changes == Changes::InOutbox { OF_CHURCH_WITHOUT_INDEX } else { OF_CHURCH })
            .push(status.map(of_status))
            // With their events it leaves the result as it is: without it PostgreSQL reads the whole history from its
            // index.
            .push((changes != Changes::All).then_some(CHANGED))
            .push((changes == Changes::InOutbox).then_some(HAS_EVENT))
            .push(query.before.is_some().then_some(OLDER))
            .push(NEWEST)
            .push(limit)
            .push(sql!(") newest"));
    }
    statement
}

fn of_status(status: MessageStatus) -> Sql {
    match status {
        MessageStatus::Pending => sql!(" and status = 'pending'"),
        MessageStatus::Sent => sql!(" and status = 'sent'"),
        MessageStatus::Delivered => sql!(" and status = 'delivered'"),
        MessageStatus::Failed => sql!(" and status = 'failed'"),
        MessageStatus::Read => sql!(" and status = 'read'"),
    }
}
