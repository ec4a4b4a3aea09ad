//! The body of `POST /api/messages/send`, before it is checked.

use common::json::without_lone_surrogates;
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::error::{ApiError, Problem};

/// The body. `draft` checks types and required fields, so that one answer names everything that is wrong, in our words.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SendRequest {
    pub(super) content: Option<Field<String>>,
    pub(super) target_type: Option<Field<String>>,
    pub(super) target_ids: Option<Field<Vec<Field<String>>>>,
    pub(super) recipients: Option<Field<Vec<Field<RecipientEntry>>>>,
    pub(super) conversation_id: Option<Field<String>>,
    pub(super) media_urls: Option<Field<Vec<Field<String>>>>,
    pub(super) send_at: Option<Field<String>>,
}

/// A recipient.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RecipientEntry {
    pub(super) phone: Option<Field<String>>,
    pub(super) member_id: Option<Field<String>>,
    pub(super) first_name: Option<Field<String>>,
    pub(super) last_name: Option<Field<String>>,
}

/// A field of the body: a value of the expected type, or any other.
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum Field<T> {
    /// A value of the expected type.
    Value(T),
    /// JSON of another type.
    WrongType(IgnoredAny),
}

impl SendRequest {
    /// Parses a body. A lone surrogate, as editors that cut by UTF-16 leave it, becomes U+FFFD.
    ///
    /// # Errors
    /// It is not JSON (400), or not an object with each field at most once (422).
    pub(super) fn from_body(body: &[u8]) -> Result<Self, ApiError> {
        let read = serde_json::from_slice(body).or_else(|error| {
            without_lone_surrogates(body).map_or(Err(error), |copy| serde_json::from_slice(&copy))
        });
        read.map_err(|error| parse_error(&error))
    }
}

fn parse_error(error: &serde_json::Error) -> ApiError {
    if !error.is_data() {
        let (line, column) = (error.line(), error.column());
        return ApiError::Malformed(format!("the body is not JSON, from line {line}, column {column} on"));
    }
    // Wrong types are read as `Field::WrongType`. Only a repeated field or another type than an object remain.
    let text = error.to_string();
    match text.strip_prefix("duplicate field `").and_then(|rest| rest.split_once('`')) {
        Some((field, _)) => Problem::new(field, "give it once").into(),
        None => Problem::new("body", "give a JSON object").into(),
    }
}
