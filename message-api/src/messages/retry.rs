//! `POST /api/messages/{id}/retry`: a new message to those whom the first one did not reach for a passing reason.

use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::StatusCode;
use axum::{Extension, Json};
use common::event::timestamp;
use common::store::{NewRetry, Retried};
use serde::Deserialize;
use time::OffsetDateTime;
use tracing::info;
use utoipa::ToSchema;
use uuid::Uuid;

use super::parameters::MessageId;
use super::response::{AcceptedMessage, Success};
use super::send::sender_of;
use crate::app::{App, Trace};
use crate::auth::{Caller, check_may_change};
use crate::error::{ApiError, Code, Problem};

/// The body. It may be missing.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
struct RetryRequest {
    /// Also those of whom it is unknown whether the text reached them. They may get it twice.
    include_unresolved: bool,
}

/// Makes a new message to those whom this one did not reach for a passing reason. For the author, and for roles that may
/// send. Each recipient is retried once: a repetition answers the same message.
#[utoipa::path(
    post,
    path = "/api/messages/{id}/retry",
    tag = "messages",
    summary = "Retry a message",
    params(MessageId),
    request_body = Option<RetryRequest>,
    responses(
        (status = 201, description = "The new message is recorded", body = Success<AcceptedMessage>),
        (status = 200, description = "It was retried before: the message of then", body = Success<AcceptedMessage>),
    ),
)]
pub(super) async fn retry(
    State(app): State<App>,
    MessageId(id): MessageId,
    Caller(caller): Caller,
    Extension(trace): Extension<Trace>,
    body: Result<Bytes, BytesRejection>,
) -> Result<(StatusCode, Json<Success<impl serde::Serialize>>), ApiError> {
    let request = read(&body?)?;
    let original = app.store.message(&caller.church_id, id).await?.ok_or(ApiError::MessageNotFound)?;
    check_may_change(&app, &caller, &original.author_id)?;
    let sender = sender_of(&app, &caller.church_id).await?;
    let retry = NewRetry {
        id: Uuid::now_v7(),
        church_id: caller.church_id,
        retry_of: id,
        author_id: caller.user_id,
        from_number: sender.number,
        messaging_profile_id: sender.messaging_profile_id,
        include_unresolved: request.include_unresolved,
        created_at: timestamp::millis(OffsetDateTime::now_utc()),
        trace_parent: trace,
    };
    match app.store.retry(&retry).await? {
        Retried::New(message) => {
            app.wake.notify_one();
            let (church, recipients) = (&message.church_id, message.tally.recipients);
            info!(message.id = %message.id, church.id = %church, recipients, "recorded a message");
            Ok((StatusCode::CREATED, Json(Success::new(AcceptedMessage::from(message)))))
        }
        Retried::Repeated(message) => {
            Ok((StatusCode::OK, Json(Success::new(AcceptedMessage::from(message)))))
        }
        Retried::Nothing => Err(ApiError::Unprocessable {
            code: Code::NothingToRetry,
            message: "nobody is left who failed for a reason that passes with time",
        }),
    }
}

fn read(body: &[u8]) -> Result<RetryRequest, ApiError> {
    if body.is_empty() {
        return Ok(RetryRequest::default());
    }
    let wrong = |_| Problem::new("body", "give {\"includeUnresolved\": true}, or no body").into();
    serde_json::from_slice::<Option<_>>(body).map(Option::unwrap_or_default).map_err(wrong)
}
