//! `GET /api/messages/inbound`: the texts that people sent to the church, newest first.
//!
//! Pages by the `cursor` of the answer before, which neither skips nor repeats a text. `updatedSince` filters by when a
//! text was recorded: a client that passes an answer's `asOf` next misses none.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use common::event::timestamp;
use common::inbound::OptOut;
use common::store::{Inbound, InboundQuery};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::cursor;
use super::limits::{MAX_PAGE, PAGE};
use super::parameters::{self, given, number, updated_since};
use super::schemas;
use crate::app::App;
use crate::auth::Caller;
use crate::error::{ApiError, Problem, Problems};

/// The query string, before it is checked.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
pub(crate) struct InboundParameters {
    #[param(schema_with = schemas::limit)]
    limit: Option<String>,
    #[param(schema_with = schemas::cursor)]
    cursor: Option<String>,
    #[param(schema_with = schemas::updated_since)]
    updated_since: Option<String>,
}

/// One page.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct InboundAnswer {
    /// Always true.
    success: bool,
    data: Vec<InboundItem>,
    pagination: Pagination,
    /// The `updatedSince` of the next request.
    #[serde(with = "timestamp")]
    as_of: OffsetDateTime,
}

/// The position of the page.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Pagination {
    limit: u32,
    /// Null at the end.
    #[schema(required = true)]
    next_cursor: Option<String>,
}

/// A text that came in.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(example = json!({
    "id": "01939f5e-7c00-7000-8000-0000000000c1", "receivedAt": "2026-11-22T20:16:02.000Z", "from": "+15551230101",
    "text": "STOP", "mediaCount": 0, "optOut": "stop",
}))]
struct InboundItem {
    id: Uuid,
    #[serde(with = "timestamp")]
    received_at: OffsetDateTime,
    from: String,
    text: String,
    media_count: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(schema_with = schemas::opt_out)]
    opt_out: Option<OptOut>,
}

impl From<Inbound> for InboundItem {
    fn from(text: Inbound) -> Self {
        Self {
            id: text.id,
            received_at: text.received_at,
            from: text.from,
            text: text.content,
            media_count: text.media_count,
            opt_out: text.opt_out,
        }
    }
}

/// Answers one page, newest first.
#[utoipa::path(
    get,
    path = "/api/messages/inbound",
    tag = "messages",
    summary = "List the texts that the church received",
    params(InboundParameters),
    responses((status = 200, description = "One page", body = InboundAnswer)),
)]
pub(super) async fn inbound(
    State(app): State<App>,
    Caller(caller): Caller,
    parameters: Result<Query<InboundParameters>, QueryRejection>,
) -> Result<Json<InboundAnswer>, ApiError> {
    let as_of = OffsetDateTime::now_utc();
    let query = parameters::read(parameters)?.read()?;
    let found = app.store.inbound(&caller.church_id, &query).await?;
    // A full page may be the last one; then the next one is empty.
    let last = found.last().filter(|_| found.len() == query.limit as usize);
    let next_cursor = last.map(|text| cursor::encode_inbound(text.recorded_at, text.id));
    let pagination = Pagination { limit: query.limit, next_cursor };
    let data = found.into_iter().map(InboundItem::from).collect();
    Ok(Json(InboundAnswer { success: true, data, pagination, as_of }))
}

impl InboundParameters {
    /// The query, or everything that is wrong.
    fn read(&self) -> Result<InboundQuery, ApiError> {
        let mut problems = Problems::default();
        let limit = problems.note(number("limit", &self.limit, PAGE, MAX_PAGE));
        let before = problems.note(before(&self.cursor)).flatten();
        let updated_since = problems.note(updated_since(&self.updated_since)).flatten();
        problems.into_result()?;
        Ok(InboundQuery { limit: limit.unwrap_or(PAGE), before, updated_since })
    }
}

fn before(value: &Option<String>) -> Result<Option<(OffsetDateTime, Uuid)>, Problem> {
    let Some(text) = given(value) else { return Ok(None) };
    let place = cursor::decode_inbound(text);
    place.map(Some).ok_or_else(|| Problem::new("cursor", "give the nextCursor of an earlier answer"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_wrong_parameter_is_named() {
        let wrong = |text: &str| Some(text.to_owned());
        let (limit, updated_since) = (wrong("101"), wrong("yesterday"));
        // A cursor of the history is none of this list.
        let cursor = Some(cursor::encode(OffsetDateTime::UNIX_EPOCH, Uuid::nil()));
        match (InboundParameters { limit, cursor, updated_since }).read() {
            Err(ApiError::Invalid(problems)) => {
                assert_eq!(problems.fields().join(" "), "limit cursor updatedSince");
            }
            other => panic!("{other:?}"),
        }
        let query = InboundParameters::default().read().unwrap();
        assert_eq!((query.limit, query.before, query.updated_since), (20, None, None));
    }
}
