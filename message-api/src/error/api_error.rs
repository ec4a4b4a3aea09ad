//! Why a request failed: maps each error to its answer and logs it. Causes are logged and never answered. The request's
//! content is never logged.

use axum::Json;
use axum::extract::rejection::BytesRejection;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use common::claims::TokenError;
use common::store::StoreError;
use common::throttle::Throttle;
use tracing::{debug, error, warn};

use super::code::Code;
use super::failure::Failure;
use super::problems::{Problem, Problems};
use crate::app::MAX_BODY_MIB;

/// `Retry-After` of a 503, in seconds.
const RETRY_AFTER_SECONDS: u32 = 2;

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApiError {
    /// 401: the token is missing, invalid, expired or revoked.
    #[error(transparent)]
    Unauthorized(#[from] TokenError),
    /// 403: the caller's role is not among `SEND_ROLES`.
    #[error("your role may not send messages")]
    RoleNotAllowed,
    /// 404: it does not exist, or belongs to another church.
    #[error("message not found")]
    MessageNotFound,
    /// 404.
    #[error("there is no such route")]
    UnknownRoute,
    /// 405.
    #[error("this route does not support the method")]
    UnknownMethod,
    /// 413.
    #[error("the body is larger than {MAX_BODY_MIB} MiB")]
    TooLarge,
    /// 400: the body is not JSON, or incomplete.
    #[error("{0}")]
    Malformed(String),
    /// 422: fields are missing or wrong.
    #[error("{0}")]
    Invalid(Problems),
    /// 422: well formed, but can't be done.
    #[error("{message}")]
    Unprocessable {
        /// For a program.
        code: Code,
        /// For a person.
        message: &'static str,
    },
    /// 422: the product's back end does not know the target.
    #[error("the product does not know these targets")]
    UnknownTarget(Problems),
    /// 502: the product's back end is down or answers wrong.
    #[error("the recipients can't be looked up at the moment; nothing was sent")]
    RecipientsUnavailable,
    /// 504: the product's back end is slow.
    #[error("looking up the recipients took too long; nothing was sent")]
    RecipientsTimedOut,
    /// 503 with Retry-After while the database is away, else 500.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// 503 with Retry-After: the schema is not up to date yet.
    #[error("the service is starting")]
    Starting,
    /// 503 without Retry-After: the message may be recorded, so repeating the request may send it twice.
    #[error(
        "it is unknown whether the message was recorded; look for it in the history before you send it again, and \
         send an Idempotency-Key: with one, a request can be repeated safely"
    )]
    OutcomeUnknown,
    /// 503 with Retry-After.
    #[error("the request took too long")]
    TimedOut,
    /// 500: an error of this service.
    #[error("the request could not be handled")]
    Internal,
}

impl From<Problem> for ApiError {
    fn from(problem: Problem) -> Self {
        Self::Invalid(problem.into())
    }
}

impl From<Problems> for ApiError {
    fn from(problems: Problems) -> Self {
        Self::Invalid(problems)
    }
}

impl From<BytesRejection> for ApiError {
    fn from(rejection: BytesRejection) -> Self {
        if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
            Self::TooLarge
        } else {
            Self::Malformed("the body is incomplete".into())
        }
    }
}

/// Limits the log lines of server errors: while the database is away, each request fails in the same way.
static REPEATS: Throttle = Throttle::once_a_minute();

impl ApiError {
    /// Nobody is meant.
    pub(crate) const NO_RECIPIENTS: Self =
        Self::Unprocessable { code: Code::NoRecipients, message: "the message has no recipient" };

    fn code(&self) -> Code {
        match self {
            Self::Unauthorized(TokenError::Missing) => Code::TokenMissing,
            Self::Unauthorized(TokenError::Invalid) => Code::TokenInvalid,
            Self::Unauthorized(TokenError::Expired) => Code::TokenExpired,
            Self::Unauthorized(TokenError::Revoked) => Code::TokenRevoked,
            Self::Unauthorized(TokenError::ChurchMissing) => Code::ChurchMissing,
            Self::Unauthorized(TokenError::ChurchMalformed(_)) => Code::ChurchMalformed,
            Self::RoleNotAllowed => Code::RoleNotAllowed,
            Self::MessageNotFound => Code::MessageNotFound,
            Self::UnknownRoute => Code::RouteNotFound,
            Self::UnknownMethod => Code::MethodNotAllowed,
            Self::TooLarge => Code::BodyTooLarge,
            Self::Malformed(_) => Code::BodyMalformed,
            Self::Invalid(_) => Code::Invalid,
            Self::UnknownTarget(_) => Code::UnknownTarget,
            Self::RecipientsUnavailable => Code::RecipientsUnavailable,
            Self::RecipientsTimedOut => Code::RecipientsTimedOut,
            Self::Unprocessable { code, .. } => *code,
            Self::Store(cause) if cause.is_temporary() => Code::Unavailable,
            Self::Starting => Code::Unavailable,
            Self::TimedOut => Code::TimedOut,
            Self::OutcomeUnknown => Code::OutcomeUnknown,
            Self::Store(_) | Self::Internal => Code::Internal,
        }
    }

    fn log(&self, code: Code) {
        let (status, code) = (code.status(), code.as_str());
        if !status.is_server_error() {
            return debug!(status = status.as_u16(), code, "a request was refused");
        }
        let Some(held_back) = REPEATS.opens(code) else { return };
        match self {
            Self::Store(cause) if !cause.is_temporary() => {
                error!(error = cause as &dyn std::error::Error, code, held_back, "a request failed");
            }
            Self::Store(cause) => {
                warn!(error = cause as &dyn std::error::Error, code, held_back, "a request failed");
            }
            Self::Internal => error!(code, held_back, "a request failed"),
            _ => warn!(code, held_back, "a request failed"),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let code = self.code();
        let status = code.status();
        self.log(code);
        let error = match &self {
            Self::Store(_) if status == StatusCode::SERVICE_UNAVAILABLE => {
                "the service is not available at the moment; try again".into()
            }
            Self::Store(_) => Self::Internal.to_string(),
            other => other.to_string(),
        };
        let (details, problem_count) = match self {
            Self::Invalid(problems) | Self::UnknownTarget(problems) => problems.into_parts(),
            _ => (Vec::new(), None),
        };
        let failure = Failure { success: false, error, code, details, problem_count };
        let mut response = (status, Json(failure)).into_response();
        match status {
            StatusCode::SERVICE_UNAVAILABLE if code != Code::OutcomeUnknown => {
                response.headers_mut().insert(header::RETRY_AFTER, RETRY_AFTER_SECONDS.into());
            }
            StatusCode::UNAUTHORIZED => {
                let scheme = header::HeaderValue::from_static("Bearer");
                response.headers_mut().insert(header::WWW_AUTHENTICATE, scheme);
            }
            _ => {}
        }
        // For the metrics.
        response.extensions_mut().insert(code);
        response
    }
}
