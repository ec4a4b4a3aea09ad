//! Parameters of the path and the query string. An empty query parameter counts as absent.

use axum::extract::rejection::QueryRejection;
use axum::extract::{FromRequestParts, Path, Query};
use axum::http::request::Parts;
use common::event::timestamp;
use common::status::MessageStatus;
use time::{Duration, OffsetDateTime};
use utoipa::IntoParams;
use uuid::Uuid;

use crate::error::{ApiError, Problem};

/// How long after its time a change may become visible: a transaction takes its time when it starts.
const LATE_COMMITS: Duration = Duration::seconds(20);

/// The message id in the path. A path with anything else in its place is an unknown route.
#[derive(IntoParams)]
#[into_params(names("id"), parameter_in = Path)]
pub(crate) struct MessageId(pub(super) Uuid);

impl<S: Send + Sync> FromRequestParts<S> for MessageId {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let path = Path::<Uuid>::from_request_parts(parts, state).await;
        path.map(|Path(id)| Self(id)).map_err(|_| ApiError::UnknownRoute)
    }
}

/// Answers methods other than GET.
pub(crate) async fn unknown_method(_: MessageId) -> ApiError {
    ApiError::UnknownMethod
}

/// Reads the query string, with each parameter at most once.
pub(super) fn read<T>(parameters: Result<Query<T>, QueryRejection>) -> Result<T, Problem> {
    let wrong = |_| Problem::new("query", "give each parameter once, in percent encoding");
    parameters.map(|Query(parameters)| parameters).map_err(wrong)
}

/// A parameter that is present and not empty.
pub(super) fn given(value: &Option<String>) -> Option<&str> {
    value.as_deref().map(str::trim).filter(|value| !value.is_empty())
}

/// A whole number from 1 to `most`.
pub(super) fn number(field: &str, value: &Option<String>, default: u32, most: u32) -> Result<u32, Problem> {
    let Some(text) = given(value) else { return Ok(default) };
    let number = text.parse().ok().filter(|number| (1..=most).contains(number));
    number.ok_or_else(|| Problem::new(field, format!("give a whole number from 1 to {most}")))
}

/// The moment since which a client asks for changes, and some more before it.
pub(super) fn updated_since(value: &Option<String>) -> Result<Option<OffsetDateTime>, Problem> {
    let Some(text) = given(value) else { return Ok(None) };
    // An unescaped plus arrives as a space.
    let since = timestamp::parse(text).or_else(|| timestamp::parse(&text.replace(' ', "+")));
    let since = since.and_then(|since| since.checked_sub(LATE_COMMITS));
    let help = "give a time as 2026-11-22T20:15:31.123Z, best the asOf of an earlier answer";
    since.map(Some).ok_or_else(|| Problem::new("updatedSince", help))
}

/// A message status, as the socket names it.
pub(super) fn status(value: &Option<String>) -> Result<Option<MessageStatus>, Problem> {
    let Some(name) = given(value) else { return Ok(None) };
    let wrong = || Problem::new("status", "give pending, sent, delivered, failed or read");
    MessageStatus::parse(name).map(Some).ok_or_else(wrong)
}
