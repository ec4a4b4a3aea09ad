//! Every failure that a front end sees: one envelope, one place that maps and logs.
//!
//! `{"success":false, "error":"<for a person>", "code":"<for a program>", "details"?:[{"field","message"}],
//! "problemCount"?}`. A cause is logged and never answered; what the caller sent is never logged.

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

/// Clients are asked to come back after so many seconds.
const RETRY_AFTER_SECONDS: u32 = 2;

/// Why a request was not done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApiError {
    /// No token, or none that holds: 401.
    #[error(transparent)]
    Unauthorized(#[from] TokenError),
    /// 404: there is none, or it belongs to another church.
    #[error("message not found")]
    MessageNotFound,
    /// 404.
    #[error("there is no such address here")]
    UnknownRoute,
    /// 405.
    #[error("this address does not know the method")]
    UnknownMethod,
    /// 413.
    #[error("the body is larger than {MAX_BODY_MIB} MiB")]
    TooLarge,
    /// 400: the body is no JSON, or was not sent to its end.
    #[error("{0}")]
    Malformed(String),
    /// 422: fields are missing or wrong.
    #[error("{0}")]
    Invalid(Problems),
    /// 422: well formed, and can't be done.
    #[error("{message}")]
    Impossible {
        /// For a program.
        code: &'static str,
        /// For a person.
        message: &'static str,
    },
    /// 503 with Retry-After while the database is away, else 500.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// 503 with Retry-After: the schema is not up to date yet.
    #[error("the service is starting")]
    Starting,
    /// 503 without Retry-After: nobody knows whether it was done, and doing it again may do it twice.
    #[error(
        "it is not known whether the message was recorded; look for it in the history before you send it again, and \
         give an Idempotency-Key: with one, a request may be repeated without harm"
    )]
    OutcomeUnknown,
    /// 503 with Retry-After.
    #[error("the request took too long")]
    TimedOut,
    /// 500: a mistake of ours.
    #[error("the request could not be handled")]
    Broken,
}

/// What is wrong with one field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Problem {
    /// Where it stands, as in `recipients[3].phone`.
    pub field: String,
    /// What to do about it.
    pub message: String,
}

impl Problem {
    /// Names a field and what to do.
    pub(crate) fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: field.into(), message: message.into() }
    }
}

impl From<Problem> for ApiError {
    fn from(problem: Problem) -> Self {
        Self::Invalid(Problems { listed: vec![problem], count: 1 })
    }
}

/// All that is wrong with a request: the first problems, and how many there are.
#[derive(Debug, Default)]
pub(crate) struct Problems {
    listed: Vec<Problem>,
    count: usize,
}

impl Problems {
    /// Problems that an answer lists at most.
    pub(crate) const LISTED: usize = 20;

    /// Adds one.
    pub(crate) fn add(&mut self, field: impl Into<String>, message: impl Into<String>) {
        self.count += 1;
        if self.listed.len() < Self::LISTED {
            self.listed.push(Problem::new(field, message));
        }
    }

    /// The value, or `None` where the problem is noted.
    pub(crate) fn note<T>(&mut self, read: Result<T, Problem>) -> Option<T> {
        read.map_err(|problem| self.add(problem.field, problem.message)).ok()
    }

    /// # Errors
    /// There is a problem.
    pub(crate) fn into_result(self) -> Result<(), ApiError> {
        if self.count == 0 { Ok(()) } else { Err(ApiError::Invalid(self)) }
    }

    /// The fields of the listed ones.
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
            Self::Malformed("the body did not arrive whole".into())
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
    /// How many there are, where `details` does not list all.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem_count: Option<usize>,
}

/// Tells of what failed by our own trouble.
static TROUBLE: Throttle = Throttle::once_a_minute();

impl ApiError {
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
            Self::MessageNotFound => (StatusCode::NOT_FOUND, "message_not_found"),
            Self::UnknownRoute => (StatusCode::NOT_FOUND, "route_not_found"),
            Self::UnknownMethod => (StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed"),
            Self::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "body_too_large"),
            Self::Malformed(_) => (StatusCode::BAD_REQUEST, "body_malformed"),
            Self::Invalid(_) => (StatusCode::UNPROCESSABLE_ENTITY, "invalid"),
            Self::Impossible { code, .. } => (StatusCode::UNPROCESSABLE_ENTITY, code),
            Self::Store(cause) if cause.is_temporary() => unavailable(),
            Self::Starting => unavailable(),
            Self::TimedOut => (StatusCode::SERVICE_UNAVAILABLE, "timed_out"),
            Self::OutcomeUnknown => (StatusCode::SERVICE_UNAVAILABLE, "outcome_unknown"),
            Self::Store(_) | Self::Broken => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
        }
    }

    fn log(&self, status: StatusCode, code: &str) {
        if !status.is_server_error() {
            return debug!(status = status.as_u16(), code, "a request was refused");
        }
        // Where the database is away, each request fails in the same way.
        let Some(held_back) = TROUBLE.opens(code) else { return };
        match self {
            Self::Store(cause) if !cause.is_temporary() => {
                error!(error = cause as &dyn std::error::Error, code, held_back, "a request was not done");
            }
            Self::Store(cause) => {
                warn!(error = cause as &dyn std::error::Error, code, held_back, "a request was not done");
            }
            Self::Broken => error!(code, held_back, "a request was not done"),
            _ => warn!(code, held_back, "a request was not done"),
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
            Self::Store(_) => Self::Broken.to_string(),
            other => other.to_string(),
        };
        let may_repeat = !matches!(self, Self::OutcomeUnknown);
        let Problems { listed: details, count } =
            if let Self::Invalid(problems) = self { problems } else { Problems::default() };
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
