//! How the console answers: what a command reports, and the command itself.

use axum::Json;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use common::config::ConfigError;
use serde::Serialize;
use serde_json::{Value, json};

use super::mask;

/// With this header telephone numbers are shown. Another site's page can't send it.
const NUMBERS: &str = "x-show-numbers";

/// Answers with a report, and the command that prints it. Numbers are masked unless the request asks for them.
pub(super) fn answer(headers: &HeaderMap, command: &str, report: anyhow::Result<impl Serialize>) -> Response {
    let told = report.and_then(|report| Ok(serde_json::to_value(report)?));
    match told {
        Ok(mut report) => {
            if !headers.contains_key(NUMBERS) {
                mask::value(&mut report);
            }
            Json(json!({ "command": command, "report": report })).into_response()
        }
        Err(error) => failure(&error),
    }
}

/// Answers that something failed. A wrong setting or request is told apart from what may work again later.
pub(super) fn failure(error: &anyhow::Error) -> Response {
    let status =
        if error.is::<ConfigError>() { StatusCode::CONFLICT } else { StatusCode::SERVICE_UNAVAILABLE };
    refusal(status, &format!("{error:#}"))
}

/// Refuses a request.
pub(super) fn refusal(status: StatusCode, says: &str) -> Response {
    let says = Value::String(mask::text(says));
    (status, Json(json!({ "error": says }))).into_response()
}
