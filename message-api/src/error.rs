//! Every error answer: one envelope, and one place that maps errors to answers and logs them.
//!
//! `{"success":false, "error":"<for a person>", "code":"<for a program>", "details"?:[{"field","message"}],
//! "problemCount"?}`. Causes are logged and never answered. The request's content is never logged.

use std::fmt;

use axum::Json;
use axum::extract::rejection::BytesRejection;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use common::claims::TokenError;
use common::store::StoreError;
use common::throttle::Throttle;
use serde::Serialize;
use tracing::{debug, error, warn};

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
        code: &'static str,
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

/// What is wrong with one field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Problem {
    /// The field's path, as in `recipients[3].phone`.
    pub field: String,
    /// What to do about it.
    pub message: String,
}

impl Problem {
    /// Names the field and says what to do.
    pub(crate) fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: field.into(), message: message.into() }
    }
}

impl From<Problem> for ApiError {
    fn from(problem: Problem) -> Self {
        Self::Invalid(Problems { listed: vec![problem], count: 1 })
    }
}

/// Everything that is wrong with a request: the first problems, and their number.
#[derive(Debug, Default)]
pub(crate) struct Problems {
    listed: Vec<Problem>,
    count: usize,
}

impl Problems {
    /// Most problems that an answer lists.
    pub(crate) const LISTED: usize = 20;

    /// Adds one.
    pub(crate) fn add(&mut self, field: impl Into<String>, message: impl Into<String>) {
        self.count += 1;
        if self.listed.len() < Self::LISTED {
            self.listed.push(Problem::new(field, message));
        }
    }

    /// The value; or notes the problem and returns `None`.
    pub(crate) fn note<T>(&mut self, read: Result<T, Problem>) -> Option<T> {
        read.map_err(|problem| self.add(problem.field, problem.message)).ok()
    }

    /// # Errors
    /// At least one problem was added.
    pub(crate) fn into_result(self) -> Result<(), ApiError> {
        if self.count == 0 { Ok(()) } else { Err(ApiError::Invalid(self)) }
    }

    /// The fields of the listed problems.
    #[cfg(test)]
    pub(crate) fn fields(&self) -> Vec<&str> {
        self.listed.iter().map(|problem| problem.field.as_str()).collect()
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.count {
            count if count > self.listed.len() => {
                write!(f, "{count} fields are missing or wrong; the first {} are listed", self.listed.len())
            }
            _ => f.write_str("some fields are missing or wrong"),
        }
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

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Envelope {
    success: bool,
    error: String,
    code: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    details: Vec<Problem>,
    /// The number of problems, if `details` does not list all.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem_count: Option<usize>,
}

/// Limits the log lines of server errors: while the database is away, each request fails in the same way.
static REPEATS: Throttle = Throttle::once_a_minute();

impl ApiError {
    /// Nobody is meant.
    pub(crate) const NO_RECIPIENTS: Self =
        Self::Unprocessable { code: "no_recipients", message: "the message has no recipient" };

    fn status_and_code(&self) -> (StatusCode, &'static str) {
        match self {
            Self::Unauthorized(TokenError::Missing) => (StatusCode::UNAUTHORIZED, "token_missing"),
            Self::Unauthorized(TokenError::Invalid) => (StatusCode::UNAUTHORIZED, "token_invalid"),
            Self::Unauthorized(TokenError::Expired) => (StatusCode::UNAUTHORIZED, "token_expired"),
            Self::Unauthorized(TokenError::Revoked) => (StatusCode::UNAUTHORIZED, "token_revoked"),
            Self::Unauthorized(TokenError::ChurchMissing) => (StatusCode::UNAUTHORIZED, "church_missing"),
            Self::Unauthorized(TokenError::ChurchMalformed(_)) => {
                (StatusCode::UNAUTHORIZED, "church_malformed")
            }
            Self::RoleNotAllowed => (StatusCode::FORBIDDEN, "role_not_allowed"),
            Self::MessageNotFound => (StatusCode::NOT_FOUND, "message_not_found"),
            Self::UnknownRoute => (StatusCode::NOT_FOUND, "route_not_found"),
            Self::UnknownMethod => (StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed"),
            Self::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "body_too_large"),
            Self::Malformed(_) => (StatusCode::BAD_REQUEST, "body_malformed"),
            Self::Invalid(_) => (StatusCode::UNPROCESSABLE_ENTITY, "invalid"),
            Self::UnknownTarget(_) => (StatusCode::UNPROCESSABLE_ENTITY, "unknown_target"),
            Self::RecipientsUnavailable => (StatusCode::BAD_GATEWAY, "recipients_unavailable"),
            Self::RecipientsTimedOut => (StatusCode::GATEWAY_TIMEOUT, "recipients_unavailable"),
            Self::Unprocessable { code, .. } => (StatusCode::UNPROCESSABLE_ENTITY, code),
            Self::Store(cause) if cause.is_temporary() => unavailable(),
            Self::Starting => unavailable(),
            Self::TimedOut => (StatusCode::SERVICE_UNAVAILABLE, "timed_out"),
            Self::OutcomeUnknown => (StatusCode::SERVICE_UNAVAILABLE, "outcome_unknown"),
            Self::Store(_) | Self::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
        }
    }

    fn log(&self, status: StatusCode, code: &str) {
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

fn unavailable() -> (StatusCode, &'static str) {
    (StatusCode::SERVICE_UNAVAILABLE, "unavailable")
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let (status, code) = self.status_and_code();
        self.log(status, code);
        let error = match &self {
            Self::Store(_) if status == StatusCode::SERVICE_UNAVAILABLE => {
                "the service is not available at the moment; try again".into()
            }
            Self::Store(_) => Self::Internal.to_string(),
            other => other.to_string(),
        };
        let may_repeat = !matches!(self, Self::OutcomeUnknown);
        let Problems { listed: details, count } =
            if let Self::Invalid(problems) | Self::UnknownTarget(problems) = self {
                problems
            } else {
                Problems::default()
            };
        let problem_count = Some(count).filter(|count| *count > details.len());
        let envelope = Envelope { success: false, error, code, details, problem_count };
        let mut response = (status, Json(envelope)).into_response();
        match status {
            StatusCode::SERVICE_UNAVAILABLE if may_repeat => {
                response.headers_mut().insert(header::RETRY_AFTER, RETRY_AFTER_SECONDS.into());
            }
            StatusCode::UNAUTHORIZED => {
                let scheme = header::HeaderValue::from_static("Bearer");
                response.headers_mut().insert(header::WWW_AUTHENTICATE, scheme);
            }
            _ => {}
        }
        response
    }
}
