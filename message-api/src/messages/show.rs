//! `GET /api/messages/{id}`: one message with its recipients, or with the first page of many.

use axum::Json;
use axum::extract::State;
use common::store::RecipientQuery;

use super::parameters::MessageId;
use super::recipients::{MAX_LIMIT, page};
use super::response::{MessageDetail, Success};
use crate::app::App;
use crate::auth::Caller;
use crate::error::ApiError;

/// Answers the message, or 404 if the caller's church has no such message.
pub(crate) async fn show(
    State(app): State<App>,
    MessageId(id): MessageId,
    Caller(caller): Caller,
) -> Result<Json<Success<impl serde::Serialize>>, ApiError> {
    let message = app.store.message(&caller.church_id, id).await?.ok_or(ApiError::MessageNotFound)?;
    let first = RecipientQuery { limit: MAX_LIMIT, after: None, status: None };
    let (recipients, recipients_next) = page(&app.store, &caller.church_id, id, first).await?;
    Ok(Json(Success::new(MessageDetail { message: message.into(), recipients, recipients_next })))
}
