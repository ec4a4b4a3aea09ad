//! Every answer but 200, and the one place that maps, counts and logs it.
//!
//! Telnyx sends again whatever is not 2xx, so 4xx stands only where that can't help; our own trouble is always 503.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::commit::Unrecorded;
use crate::signature;

/// Why a request is not answered 200.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Nobody knows that it is Telnyx.
    #[error(transparent)]
    Unsigned(#[from] signature::Refusal),
    /// The body did not come to its end.
    #[error("the body could not be read")]
    BodyBroken,
    /// The body is longer than any webhook.
    #[error("the body is larger than 1 MiB")]
    TooLarge,
    /// It could not be recorded.
    #[error(transparent)]
    Unrecorded(#[from] Unrecorded),
    /// It could not be recorded in time.
    #[error("the webhook could not be recorded in time")]
    Late,
    /// No such path.
    #[error("there is nothing here; webhooks go to POST /webhooks/telnyx")]
    NotFound,
    /// Another method than POST.
    #[error("webhooks are sent by POST")]
    NotPost,
}

impl Refused {
    /// The status that says whether sending it again can help.
    pub fn status(self) -> StatusCode {
        match self {
            Self::Unsigned(_) => StatusCode::UNAUTHORIZED,
            Self::BodyBroken => StatusCode::BAD_REQUEST,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Unrecorded(_) | Self::Late => StatusCode::SERVICE_UNAVAILABLE,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::NotPost => StatusCode::METHOD_NOT_ALLOWED,
        }
    }

    /// The word in metrics and in the answer.
    pub fn code(self) -> &'static str {
        match self {
            Self::Unsigned(refusal) => refusal.as_str(),
            Self::BodyBroken => "body_broken",
            Self::TooLarge => "too_large",
            Self::Unrecorded(Unrecorded::QueueFull) => "queue_full",
            Self::Unrecorded(Unrecorded::Unavailable) => "database_unavailable",
            Self::Unrecorded(Unrecorded::Unreadable) => "unreadable",
            Self::Unrecorded(Unrecorded::Stopping) => "stopping",
            Self::Late => "late",
            Self::NotFound => "not_found",
            Self::NotPost => "method_not_allowed",
        }
    }
}

/// The body of every answer but 200.
#[derive(Serialize)]
struct Failure {
    success: bool,
    error: String,
    code: &'static str,
}

impl IntoResponse for Refused {
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
