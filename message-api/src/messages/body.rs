//! The body of `POST /api/messages/send` as it comes.

use common::json::without_lone_surrogates;
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::error::{ApiError, Problem};

/// The body. Types and what is required are checked by hand, so that all that is wrong is said at once, in our words.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SendRequest {
    pub(super) content: Option<Given<String>>,
    pub(super) target_type: Option<Given<String>>,
    pub(super) target_ids: Option<Given<Vec<Given<String>>>>,
    pub(super) recipients: Option<Given<Vec<Given<RecipientEntry>>>>,
    pub(super) conversation_id: Option<Given<String>>,
    pub(super) media_urls: Option<Given<Vec<Given<String>>>>,
    pub(super) send_at: Option<Given<String>>,
}

/// One recipient, named by its number.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RecipientEntry {
    pub(super) phone: Option<Given<String>>,
    pub(super) member_id: Option<Given<String>>,
    pub(super) first_name: Option<Given<String>>,
    pub(super) last_name: Option<Given<String>>,
}

/// What stands in a field: a value of its type, or any other.
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum Given<T> {
    /// A value of the type.
    Right(T),
    /// JSON of another type.
    Other(IgnoredAny),
}

impl SendRequest {
    /// Reads a body. Half an emoji, as an editor that cuts by UTF-16 leaves it, becomes U+FFFD.
    ///
    /// # Errors
    /// It is no JSON (400), or no object with each field once (422).
    pub(super) fn from_body(body: &[u8]) -> Result<Self, ApiError> {
        let read = serde_json::from_slice(body).or_else(|error| {
            without_lone_surrogates(body).map_or(Err(error), |copy| serde_json::from_slice(&copy))
        });
        read.map_err(|error| unreadable(&error))
    }
}

fn unreadable(error: &serde_json::Error) -> ApiError {
    if !error.is_data() {
        let (line, column) = (error.line(), error.column());
        return ApiError::Malformed(format!("the body is no JSON, from line {line}, column {column} on"));
    }
    // Fields of another type are read, too: what is left is a field that stands there twice, or no object.
    let text = error.to_string();
    match text.strip_prefix("duplicate field `").and_then(|rest| rest.split_once('`')) {
        Some((field, _)) => Problem::new(field, "give it once").into(),
        None => Problem::new("body", "give a JSON object").into(),
    }
}
