//! How the simulated Telnyx refuses a request.

use axum::Json;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::payload::error;
use super::state::Telnyx;

/// A refusal: HTTP status, Telnyx's code, title, detail, the wrong field.
pub(super) struct Refusal(u16, String, &'static str, String, Option<&'static str>);

impl Refusal {
    pub(super) fn new(status: u16, code: &str, title: &'static str, detail: &str) -> Self {
        Self(status, code.into(), title, detail.into(), None)
    }

    pub(super) fn of_field(status: u16, code: &str, title: &'static str, field: &'static str) -> Self {
        Self(status, code.into(), title, format!("{title}: {field}"), Some(field))
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let Self(status, code, title, detail, pointer) = self;
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST);
        (status, Json(error(&code, title, &detail, pointer))).into_response()
    }
}

pub(super) fn authenticate(telnyx: &Telnyx, headers: &HeaderMap) -> Result<(), Refusal> {
    let header = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let key = header.and_then(|value| value.strip_prefix("Bearer "));
    if key == Some(&telnyx.api_key) {
        return Ok(());
    }
    Err(Refusal::new(401, "10009", "Authentication failed", "The API key is missing or wrong."))
}
