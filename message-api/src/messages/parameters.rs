//! The query string: everything in it is text, and an empty value is as good as none.

use axum::extract::Query;
use axum::extract::rejection::QueryRejection;
use common::status::MessageStatus;

use crate::error::Problem;

/// The parameters, each given once.
pub(super) fn read<T>(parameters: Result<Query<T>, QueryRejection>) -> Result<T, Problem> {
    let wrong = |_| Problem::new("query", "give each parameter once, in percent encoding");
    parameters.map(|Query(parameters)| parameters).map_err(wrong)
}

/// A value that is there.
pub(super) fn given(value: &Option<String>) -> Option<&str> {
    value.as_deref().map(str::trim).filter(|value| !value.is_empty())
}

/// A whole number from 1 to `most`.
pub(super) fn number(field: &str, value: &Option<String>, default: u32, most: u32) -> Result<u32, Problem> {
    let Some(text) = given(value) else { return Ok(default) };
    let number = text.parse().ok().filter(|number| (1..=most).contains(number));
    number.ok_or_else(|| Problem::new(field, format!("give a whole number from 1 to {most}")))
}

/// A status in the words of the socket.
pub(super) fn status(value: &Option<String>) -> Result<Option<MessageStatus>, Problem> {
    let Some(word) = given(value) else { return Ok(None) };
    let wrong = || Problem::new("status", "give pending, sent, delivered, failed or read");
    MessageStatus::parse(word).map(Some).ok_or_else(wrong)
}
