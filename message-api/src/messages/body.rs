//! The body of `POST /api/messages/send`, before it is checked.

use common::json::without_lone_surrogates;
use serde::Deserialize;
use serde::de::IgnoredAny;
use utoipa::ToSchema;

use super::schemas;
use crate::error::{ApiError, Problem};

/// The body. `draft` checks types and required fields, so that one answer names everything that is wrong, in our words.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(
    description = "Give either `recipients`, or `targetType` with `targetIds`. A blank text counts as absent."
)]
pub(super) struct SendRequest {
    #[schema(schema_with = schemas::content, required = true)]
    pub(super) content: Option<Field<String>>,
    #[schema(schema_with = schemas::target_type)]
    pub(super) target_type: Option<Field<String>>,
    #[schema(schema_with = schemas::target_ids)]
    pub(super) target_ids: Option<Field<Vec<Field<String>>>>,
    #[schema(value_type = Option<Vec<RecipientEntry>>, min_items = 1, max_items = 10_000)]
    pub(super) recipients: Option<Field<Vec<Field<RecipientEntry>>>>,
    #[schema(schema_with = schemas::id)]
    pub(super) conversation_id: Option<Field<String>>,
    #[schema(schema_with = schemas::media_urls)]
    pub(super) media_urls: Option<Field<Vec<Field<String>>>>,
    #[schema(schema_with = schemas::send_at)]
    pub(super) send_at: Option<Field<String>>,
}

/// A recipient. Each number gets one text, however often it is listed.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct RecipientEntry {
    #[schema(schema_with = schemas::phone, required = true)]
    pub(super) phone: Option<Field<String>>,
    #[schema(schema_with = schemas::id)]
    pub(super) member_id: Option<Field<String>>,
    #[schema(schema_with = schemas::name)]
    pub(super) first_name: Option<Field<String>>,
    #[schema(schema_with = schemas::name)]
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
