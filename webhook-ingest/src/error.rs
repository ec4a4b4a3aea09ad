//! Every error answer, with its status and code.
//!
//! Telnyx repeats a webhook that is not answered 2xx. So 4xx means that a repetition can't help, and trouble of ours is
//! always 503.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::commit::CommitError;
use crate::signature::SignatureError;

/// Why a request is not answered 200.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IngestError {
    /// The request does not prove that Telnyx sent it.
    #[error(transparent)]
    Signature(#[from] SignatureError),
    /// The connection ended before the body did.
    #[error("the body could not be read")]
    BodyIncomplete,
    /// The body is longer than any webhook.
    #[error("the body is larger than 1 MiB")]
    TooLarge,
    /// The webhook could not be recorded.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// The webhook could not be recorded in time.
    #[error("the webhook could not be recorded in time")]
    TimedOut,
    /// No such path.
    #[error("there is nothing here; webhooks go to POST /webhooks/telnyx")]
    NotFound,
    /// Another method than POST.
    #[error("webhooks are sent by POST")]
    MethodNotAllowed,
}

impl IngestError {
    /// The HTTP status: it tells Telnyx whether to send the webhook again.
    pub fn status(self) -> StatusCode {
        match self {
            Self::Signature(_) => StatusCode::UNAUTHORIZED,
            Self::BodyIncomplete => StatusCode::BAD_REQUEST,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Commit(_) | Self::TimedOut => StatusCode::SERVICE_UNAVAILABLE,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
        }
    }

    /// The error code in metrics and in the answer.
    pub fn code(self) -> &'static str {
        match self {
            Self::Signature(error) => error.as_str(),
            Self::BodyIncomplete => "body_broken",
            Self::TooLarge => "too_large",
            Self::Commit(CommitError::QueueFull) => "queue_full",
            Self::Commit(CommitError::Unavailable) => "database_unavailable",
            Self::Commit(CommitError::Unreadable) => "unreadable",
            Self::Commit(CommitError::Stopping) => "stopping",
            Self::TimedOut => "late",
            Self::NotFound => "not_found",
            Self::MethodNotAllowed => "method_not_allowed",
        }
    }
}

/// The body of an error answer.
#[derive(Serialize)]
struct Failure {
    success: bool,
    error: String,
    code: &'static str,
}

impl IntoResponse for IngestError {
    fn into_response(self) -> Response {
        let body = Failure { success: false, error: self.to_string(), code: self.code() };
        let mut response = (self.status(), Json(body)).into_response();
        let (name, value) = match self.status() {
            StatusCode::SERVICE_UNAVAILABLE => (header::RETRY_AFTER, "1"),
            StatusCode::METHOD_NOT_ALLOWED => (header::ALLOW, "POST"),
            _ => return response,
        };
        response.headers_mut().insert(name, HeaderValue::from_static(value));
        response
    }
}
