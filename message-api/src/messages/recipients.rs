//! `GET /api/messages/{id}/recipients`: a message's recipients, page by page, in the order in which they were given.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use common::store::{RecipientQuery, Store};
use common::subject::ChurchId;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::cursor;
use super::parameters::{self, MessageId, given, number, status};
use super::response::RecipientItem;
use crate::app::App;
use crate::auth::Caller;
use crate::error::{ApiError, Problem, Problems};

/// Recipients on a page, unless the request asks for fewer.
pub(super) const MAX_LIMIT: u32 = 1_000;

/// The query string, before it is checked.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct RecipientParameters {
    limit: Option<String>,
    status: Option<String>,
    cursor: Option<String>,
}

/// One page.
#[derive(Debug, Serialize)]
pub(crate) struct RecipientsAnswer {
    success: bool,
    data: Vec<RecipientItem>,
    pagination: Pagination,
}

/// The position of the page.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Pagination {
    limit: u32,
    /// Null at the end.
    next_cursor: Option<String>,
}

/// Answers one page, or 404 if the caller's church has no such message.
pub(crate) async fn recipients(
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
        let limit = problems.note(number("limit", &self.limit, MAX_LIMIT, MAX_LIMIT)).unwrap_or(MAX_LIMIT);
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
