//! `DELETE /api/messages/{id}`: cancels what has not left yet.

use axum::extract::State;
use axum::{Extension, Json};
use common::event::timestamp;
use common::store::CancelOrder;
use serde::Serialize;
use time::OffsetDateTime;
use tracing::info;
use utoipa::ToSchema;
use uuid::Uuid;

use super::parameters::MessageId;
use super::response::Success;
use crate::app::{App, Trace};
use crate::auth::{Caller, check_may_change};
use crate::error::ApiError;

/// What cancelling came to. A repetition gets the same answer, except for texts that failed meanwhile.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct CancelledMessage {
    id: Uuid,
    /// Recipients who will get no text.
    cancelled: i64,
    /// Recipients whose text had left, or was leaving.
    already_left: i64,
}

/// Cancels the texts that have not left. For the author, and for roles that may send. May be repeated.
#[utoipa::path(
    delete,
    path = "/api/messages/{id}",
    tag = "messages",
    summary = "Cancel a message",
    params(MessageId),
    responses((status = 200, description = "What could be cancelled", body = Success<CancelledMessage>)),
)]
pub(super) async fn cancel(
    State(app): State<App>,
    MessageId(id): MessageId,
    Caller(caller): Caller,
    Extension(trace): Extension<Trace>,
) -> Result<Json<Success<impl Serialize>>, ApiError> {
    let church = &caller.church_id;
    let message = app.store.message(church, id).await?.ok_or(ApiError::MessageNotFound)?;
    check_may_change(&app, &caller, &message.author_id)?;
    let now = timestamp::millis(OffsetDateTime::now_utc());
    let order =
        CancelOrder { church_id: church, message_id: id, by: &caller.user_id, now, trace_parent: trace };
    let done = app.store.cancel(&order).await?;
    info!(message.id = %id, church.id = %church, recipients = done.cancelled, "cancelled a message");
    Ok(Json(Success::new(CancelledMessage { id, cancelled: done.cancelled, already_left: done.left })))
}
