//! `GET /api/messages/{id}/recipients`: a message's recipients, page by page, in the order in which they were given.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use common::store::{RecipientQuery, Store};
use common::subject::ChurchId;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::cursor;
use super::limits::MAX_RECIPIENTS_PAGE;
use super::parameters::{self, MessageId, given, number, status};
use super::response::RecipientItem;
use super::schemas;
use crate::app::App;
use crate::auth::Caller;
use crate::error::{ApiError, Problem, Problems};

/// The query string, before it is checked.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct RecipientParameters {
    #[param(schema_with = schemas::recipients_limit)]
    limit: Option<String>,
    #[param(schema_with = schemas::status_filter)]
    status: Option<String>,
    #[param(schema_with = schemas::cursor)]
    cursor: Option<String>,
}

/// One page.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RecipientsAnswer {
    /// Always true.
    success: bool,
    data: Vec<RecipientItem>,
    pagination: Pagination,
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

/// Answers one page, in the order in which the recipients were given.
#[utoipa::path(
    get,
    path = "/api/messages/{id}/recipients",
    tag = "messages",
    summary = "List a message's recipients",
    params(MessageId, RecipientParameters),
    responses((status = 200, description = "One page", body = RecipientsAnswer)),
)]
pub(super) async fn recipients(
    State(app): State<App>,
    MessageId(id): MessageId,
    Caller(caller): Caller,
    parameters: Result<Query<RecipientParameters>, QueryRejection>,
) -> Result<Json<RecipientsAnswer>, ApiError> {
    let query = parameters::read(parameters)?.read()?;
    let limit = query.limit;
    app.store.message(&caller.church_id, id).await?.ok_or(ApiError::MessageNotFound)?;
    let (data, next_cursor) = page(&app.store, &caller.church_id, id, query).await?;
    Ok(Json(RecipientsAnswer { success: true, data, pagination: Pagination { limit, next_cursor } }))
}

/// A page of recipients, and the cursor of the next page if there is one.
pub(super) async fn page(
    store: &Store,
    church: &ChurchId,
    message: Uuid,
    query: RecipientQuery,
) -> Result<(Vec<RecipientItem>, Option<String>), ApiError> {
    let size = query.limit as usize;
    // One more tells whether there is a next page.
    let query = RecipientQuery { limit: query.limit + 1, ..query };
    let mut recipients = store.recipients(church, message, &query).await?;
    let is_more = recipients.len() > size;
    recipients.truncate(size);
    let last = recipients.last().filter(|_| is_more);
    let next = last.map(|recipient| cursor::encode_ordinal(recipient.ordinal));
    Ok((recipients.into_iter().map(RecipientItem::from).collect(), next))
}

impl RecipientParameters {
    fn read(&self) -> Result<RecipientQuery, ApiError> {
        let mut problems = Problems::default();
        let limit = problems.note(number("limit", &self.limit, MAX_RECIPIENTS_PAGE, MAX_RECIPIENTS_PAGE));
        let limit = limit.unwrap_or(MAX_RECIPIENTS_PAGE);
        let status = problems.note(status(&self.status)).flatten();
        let after = problems.note(after(&self.cursor)).flatten();
        problems.into_result()?;
        Ok(RecipientQuery { limit, after, status })
    }
}

fn after(value: &Option<String>) -> Result<Option<i64>, Problem> {
    let Some(text) = given(value) else { return Ok(None) };
    let wrong = || Problem::new("cursor", "give the recipientsNext or nextCursor of an earlier answer");
    cursor::decode_ordinal(text).map(Some).ok_or_else(wrong)
}
