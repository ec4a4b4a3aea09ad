//! `GET /api/messages/{id}`: one message with its recipients, or with the first of very many.

use axum::Json;
use axum::extract::{FromRequestParts, Path, State};
use axum::http::request::Parts;
use common::store::RecipientQuery;
use uuid::Uuid;

use super::recipients::{MAX_LIMIT, page};
use super::shape::MessageDetail;
use crate::auth::Caller;
use crate::error::ApiError;
use crate::router::{App, Success};

/// The message that an address names. An address with anything else in its place is none of ours.
pub(crate) struct MessageId(pub(super) Uuid);

impl<S: Send + Sync> FromRequestParts<S> for MessageId {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let path = Path::<Uuid>::from_request_parts(parts, state).await;
        path.map(|Path(id)| Self(id)).map_err(|_| ApiError::UnknownRoute)
    }
}

/// Answers another method than GET.
pub(crate) async fn unknown_method(_: MessageId) -> ApiError {
    ApiError::UnknownMethod
}

/// Answers the message, or 404 where there is none in the caller's church.
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
