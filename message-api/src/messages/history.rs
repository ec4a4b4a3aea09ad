//! `GET /api/messages/history`: the church's messages, newest first.
//!
//! Pages by `page` and `limit`, or by the `cursor` of the answer before, which neither skips nor repeats a message.
//! `updatedSince` filters by changes: a client that passes an answer's `asOf` next misses none.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use common::event::timestamp;
use common::status::MessageStatus;
use common::store::HistoryQuery;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use utoipa::{IntoParams, ToSchema};

use super::cursor;
use super::limits::{LAST_PAGE, MAX_PAGE, PAGE};
use super::parameters::{self, given, number, updated_since};
use super::response::MessageSummary;
use super::schemas;
use crate::app::App;
use crate::auth::Caller;
use crate::error::{ApiError, Problem, Problems};

/// The query string, before it is checked.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
pub(crate) struct HistoryParameters {
    #[param(schema_with = schemas::page)]
    page: Option<String>,
    #[param(schema_with = schemas::limit)]
    limit: Option<String>,
    #[param(schema_with = schemas::status_filter)]
    status: Option<String>,
    #[param(schema_with = schemas::cursor)]
    cursor: Option<String>,
    #[param(schema_with = schemas::updated_since)]
    updated_since: Option<String>,
}

/// One page.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct HistoryAnswer {
    /// Always true.
    success: bool,
    data: Vec<MessageSummary>,
    pagination: Pagination,
    /// The `updatedSince` of the next request.
    #[serde(with = "timestamp")]
    as_of: OffsetDateTime,
}

/// The position of the page.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = HistoryPagination)]
struct Pagination {
    page: u32,
    limit: u32,
    /// Number of messages that match, counted up to 10000; null on a page by cursor.
    #[schema(required = true)]
    total: Option<u64>,
    /// True if more messages match than `total` and `pages` say.
    total_more: bool,
    /// Pages of the messages in `total`; null on a page by cursor.
    #[schema(required = true)]
    pages: Option<u64>,
    /// Null at the end.
    #[schema(required = true)]
    next_cursor: Option<String>,
}

/// Answers one page, newest first. Changes of a shown message come with `updatedSince`.
#[utoipa::path(
    get,
    path = "/api/messages/history",
    tag = "messages",
    summary = "List the church's messages",
    params(HistoryParameters),
    responses((status = 200, description = "One page", body = HistoryAnswer)),
)]
pub(super) async fn history(
    State(app): State<App>,
    Caller(caller): Caller,
    parameters: Result<Query<HistoryParameters>, QueryRejection>,
) -> Result<Json<HistoryAnswer>, ApiError> {
    let as_of = OffsetDateTime::now_utc();
    let (page, query) = parameters::read(parameters)?.read()?;
    let found = app.store.history(&caller.church_id, &query).await?;
    // A full page may be the last one; then the next one is empty.
    let last = found.messages.last().filter(|_| found.messages.len() == query.limit as usize);
    let next_cursor = last.map(|message| cursor::encode(message.created_at, message.id));
    let pagination = Pagination {
        page,
        limit: query.limit,
        total: found.total.map(|total| total.messages),
        total_more: found.total.is_some_and(|total| total.more),
        pages: found.total.map(|total| total.messages.div_ceil(u64::from(query.limit))),
        next_cursor,
    };
    let data = found.messages.into_iter().map(MessageSummary::from).collect();
    Ok(Json(HistoryAnswer { success: true, data, pagination, as_of }))
}

impl HistoryParameters {
    /// The page's number and the query, or everything that is wrong.
    fn read(&self) -> Result<(u32, HistoryQuery), ApiError> {
        let mut problems = Problems::default();
        let page = problems.note(number("page", &self.page, 1, LAST_PAGE)).unwrap_or(1);
        let limit = problems.note(number("limit", &self.limit, PAGE, MAX_PAGE));
        let limit = limit.unwrap_or(PAGE);
        let statuses = problems.note(statuses(&self.status)).unwrap_or_default();
        let before = problems.note(before(&self.cursor, page)).flatten();
        let updated_since = problems.note(updated_since(&self.updated_since)).flatten();
        problems.into_result()?;
        let offset = u64::from(page - 1) * u64::from(limit);
        Ok((page, HistoryQuery { limit, offset, before, statuses, updated_since }))
    }
}

/// `sent` also matches messages that got further, because the first front end filters by nothing else.
fn statuses(value: &Option<String>) -> Result<Vec<MessageStatus>, Problem> {
    use MessageStatus::{Delivered, Read, Sent};
    Ok(match parameters::status(value)? {
        Some(Sent) => vec![Sent, Delivered, Read],
        status => status.into_iter().collect(),
    })
}

fn before(value: &Option<String>, page: u32) -> Result<Option<(OffsetDateTime, uuid::Uuid)>, Problem> {
    match given(value) {
        None => Ok(None),
        Some(_) if page > 1 => Err(Problem::new("cursor", "give either page or cursor")),
        Some(text) => match cursor::decode(text) {
            Some(place) => Ok(Some(place)),
            None => Err(Problem::new("cursor", "give the nextCursor of an earlier answer")),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(page: &str, limit: &str, status: &str) -> Result<(u32, HistoryQuery), ApiError> {
        let text = |text: &str| Some(text.to_owned());
        let (page, limit, status) = (text(page), text(limit), text(status));
        HistoryParameters { page, limit, status, ..HistoryParameters::default() }.read()
    }

    #[test]
    fn page_and_limit_are_parsed_and_have_defaults() {
        let (page, query) = read("3", "50", "").unwrap();
        assert_eq!((page, query.limit, query.offset), (3, 50, 100));
        let (page, query) = read("", "", "").unwrap();
        assert_eq!((page, query.limit, query.offset), (1, 20, 0));
    }

    #[test]
    fn each_wrong_parameter_is_named() {
        let fields = |error: ApiError| match error {
            ApiError::Invalid(problems) => problems.fields().join(" "),
            other => panic!("{other:?}"),
        };
        assert_eq!(fields(read("0", "101", "gone").unwrap_err()), "page limit status");
        assert_eq!(fields(read("-1", "x", "").unwrap_err()), "page limit");
        let parameters = HistoryParameters {
            cursor: Some("nonsense".into()),
            updated_since: Some("yesterday".into()),
            ..HistoryParameters::default()
        };
        assert_eq!(fields(parameters.read().unwrap_err()), "cursor updatedSince");
    }

    #[test]
    fn sent_also_matches_delivered_and_read() {
        use MessageStatus::{Delivered, Read, Sent};
        assert_eq!(read("", "", "sent").unwrap().1.statuses, [Sent, Delivered, Read]);
        assert_eq!(read("", "", "delivered").unwrap().1.statuses, [Delivered]);
        assert_eq!(read("", "", "read").unwrap().1.statuses, [Read]);
    }

    #[test]
    fn updated_since_goes_twenty_seconds_further_back() {
        let since = |text: &str| updated_since(&Some(text.into())).unwrap().map(timestamp::to_text);
        assert_eq!(since("2026-11-22T20:15:31.123Z").as_deref(), Some("2026-11-22T20:15:11.123Z"));
        assert_eq!(since("2026-11-22T20:15:31 01:00").as_deref(), Some("2026-11-22T19:15:11.000Z"));
        assert_eq!(since(""), None);
    }
}
