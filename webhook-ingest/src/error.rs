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

/// Why a request is not answered 200. Its name in snake case is the error code in metrics and in the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum IngestError {
    /// The request does not prove that Telnyx sent it.
    #[error(transparent)]
    #[strum(transparent)]
    Signature(#[from] SignatureError),
    /// The connection ended before the body did.
    #[error("the body could not be read")]
    BodyBroken,
    /// The body is longer than any webhook.
    #[error("the body is larger than 1 MiB")]
    TooLarge,
    /// The webhook could not be recorded.
    #[error(transparent)]
    #[strum(transparent)]
    Commit(#[from] CommitError),
    /// The webhook could not be recorded in time.
    #[error("the webhook could not be recorded in time")]
    Late,
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
            Self::BodyBroken => StatusCode::BAD_REQUEST,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Commit(_) | Self::Late => StatusCode::SERVICE_UNAVAILABLE,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
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
        let body = Failure { success: false, error: self.to_string(), code: self.into() };
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
