//! `GET /v2/messages/{id}`: retrieves a message that Telnyx accepted. Safe to repeat.

use std::time::Duration;

use axum::http::StatusCode;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;
use time::OffsetDateTime;

use super::answer::retry_after;
use super::client::{Telnyx, read};

/// How Telnyx answered.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Retrieved {
    /// The answer's bytes: the message, in the form of a webhook's payload.
    Known(Bytes),
    /// Telnyx no longer has the message.
    Unknown,
    /// Too many requests; Telnyx may say how long to wait.
    Throttled(Option<Duration>),
    /// No answer, or one that says nothing about the message.
    Unclear(&'static str),
}

#[derive(Deserialize)]
struct Errors {
    #[serde(rename = "errors")]
    _errors: Vec<Value>,
}

impl Telnyx {
    /// Retrieves the message once, within the configured timeout.
    pub(crate) async fn retrieve(&self, provider_id: &str) -> Retrieved {
        let mut url = self.endpoint.clone();
        match url.path_segments_mut() {
            Ok(mut segments) => drop(segments.push(provider_id)),
            Err(()) => return Retrieved::Unclear("the address takes no path"),
        }
        let Ok(response) = self.answer("lookup", self.http.get(url)).await else {
            return Retrieved::Unclear("no answer");
        };
        let (status, headers) = (response.status(), response.headers().clone());
        let Some(body) = read(response).await else { return Retrieved::Unclear("the answer broke off") };
        match status {
            StatusCode::OK => Retrieved::Known(body.into()),
            // Only Telnyx's own 404; another server at a wrong address answers 404, too.
            StatusCode::NOT_FOUND if serde_json::from_slice::<Errors>(&body).is_ok() => Retrieved::Unknown,
            StatusCode::TOO_MANY_REQUESTS => {
                Retrieved::Throttled(retry_after(&headers, OffsetDateTime::now_utc()))
            }
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Retrieved::Unclear("the API key may not ask"),
            _ => Retrieved::Unclear("an answer that says nothing"),
        }
    }
}
