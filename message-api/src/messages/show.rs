//! `GET /api/messages/{id}`: one message with its recipients.

use axum::Json;
use axum::extract::{Path, State};
use uuid::Uuid;

use super::shape::{MessageDetail, RecipientRow};
use crate::auth::Caller;
use crate::error::ApiError;
use crate::router::{App, Success};

/// Answers the message, or 404 where there is none in the caller's church.
pub(crate) async fn show(
    State(app): State<App>,
    Caller(caller): Caller,
    Path(id): Path<String>,
) -> Result<Json<Success<impl serde::Serialize>>, ApiError> {
    // What is no id is the id of nothing.
    let id: Uuid = id.parse().map_err(|_| ApiError::MessageNotFound)?;
    let message = app.store.message(&caller.church_id, id).await?.ok_or(ApiError::MessageNotFound)?;
    let recipients = app.store.recipients(&caller.church_id, id).await?;
    let recipients = recipients.into_iter().map(RecipientRow::from).collect();
    Ok(Json(Success::new(MessageDetail { message: message.into(), recipients })))
}
