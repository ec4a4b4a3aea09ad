//! `GET /api/messages/{id}`: one message with its recipients, or with the first page of many.

use axum::Json;
use axum::extract::State;
use common::store::RecipientQuery;

use super::limits::MAX_RECIPIENTS_PAGE;
use super::parameters::MessageId;
use super::recipients::page;
use super::response::{MessageDetail, Success};
use crate::app::App;
use crate::auth::Caller;
use crate::error::ApiError;

/// Answers the message with its first 1,000 recipients.
#[utoipa::path(
    get,
    path = "/api/messages/{id}",
    tag = "messages",
    summary = "Show a message",
    params(MessageId),
    responses((status = 200, description = "The message", body = Success<MessageDetail>)),
)]
pub(super) async fn show(
    State(app): State<App>,
    MessageId(id): MessageId,
    Caller(caller): Caller,
) -> Result<Json<Success<impl serde::Serialize>>, ApiError> {
    let message = app.store.message(&caller.church_id, id).await?.ok_or(ApiError::MessageNotFound)?;
    let first = RecipientQuery { limit: MAX_RECIPIENTS_PAGE, after: None, status: None };
    let (recipients, recipients_next) = page(&app.store, &caller.church_id, id, first).await?;
    Ok(Json(Success::new(MessageDetail { message: message.into(), recipients, recipients_next })))
}
