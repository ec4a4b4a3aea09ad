//! `GET /v2/messages/{id}`: what became of a message that Telnyx accepted. May be repeated without harm.

use std::time::Duration;

use axum::http::StatusCode;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;
use time::OffsetDateTime;

use super::answer::retry_after;
use super::client::{Telnyx, read};

/// What Telnyx answers.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Asked {
    /// The message, as a webhook's payload shows it, in the answer's bytes.
    Known(Bytes),
    /// Telnyx does not know it any more.
    Unknown,
    /// We ask too often.
    Throttled(Option<Duration>),
    /// Anything else: no answer, or none that says something. It may be asked again.
    Unclear(&'static str),
}

#[derive(Deserialize)]
struct Errors {
    #[serde(rename = "errors")]
    _errors: Vec<Value>,
}

impl Telnyx {
    /// Asks once. Takes no longer than the configured time.
    pub(crate) async fn ask(&self, provider_id: &str) -> Asked {
        let mut url = self.endpoint.clone();
        match url.path_segments_mut() {
            Ok(mut segments) => drop(segments.push(provider_id)),
            Err(()) => return Asked::Unclear("the address takes no path"),
        }
        let Ok(response) = self.http.get(url).send().await else { return Asked::Unclear("no answer") };
        let (status, headers) = (response.status(), response.headers().clone());
        let Some(body) = read(response).await else { return Asked::Unclear("the answer broke off") };
        match status {
            StatusCode::OK => Asked::Known(body.into()),
            // Telnyx's own words, and not those of whatever else answers at a wrong address.
            StatusCode::NOT_FOUND if serde_json::from_slice::<Errors>(&body).is_ok() => Asked::Unknown,
            StatusCode::TOO_MANY_REQUESTS => {
                Asked::Throttled(retry_after(&headers, OffsetDateTime::now_utc()))
            }
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Asked::Unclear("the API key may not ask"),
            _ => Asked::Unclear("an answer that says nothing"),
        }
    }
}
