//! The account's messaging profiles and numbers, as Telnyx shows them: every profile and every number is there and
//! active, except for the ones named here.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::header::DATE;
use axum::http::{HeaderMap, HeaderValue};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use time::{Duration, OffsetDateTime};

use super::refusal::{Refusal, authenticate};
use super::state::Telnyx;

/// A profile that the account does not have.
pub const UNKNOWN_PROFILE: &str = "unknown";
/// A number that the account does not have.
pub const UNKNOWN_NUMBER: &str = "+12025550199";

pub(super) async fn profiles(State(telnyx): State<Arc<Telnyx>>, headers: HeaderMap) -> Response {
    let mut response = answer(authenticate(&telnyx, &headers).map(|()| json!([])));
    let now = OffsetDateTime::now_utc() + Duration::seconds(telnyx.state().clock_ahead);
    let date = HeaderValue::from_str(&httpdate::fmt_http_date(now.into()));
    response.headers_mut().extend(date.ok().map(|date| (DATE, date)));
    response
}

pub(super) async fn profile(
    State(telnyx): State<Arc<Telnyx>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Response {
    let found = authenticate(&telnyx, &headers).and_then(|()| {
        if id == UNKNOWN_PROFILE {
            return Err(Refusal::new(404, "10005", "Resource not found", "There is no such profile."));
        }
        Ok(json!({"record_type": "messaging_profile", "id": id, "enabled": true, "webhook_api_version": "2"}))
    });
    answer(found)
}

pub(super) async fn numbers(
    State(telnyx): State<Arc<Telnyx>>,
    Query(query): Query<HashMap<String, String>>,
    headers: HeaderMap,
) -> Response {
    let number = query.get("filter[phone_number]").map(String::as_str).unwrap_or_default();
    let of = |number| json!({"record_type": "phone_number", "phone_number": number, "status": "active"});
    let found = authenticate(&telnyx, &headers)
        .map(|()| Value::from_iter((number != UNKNOWN_NUMBER).then(|| of(number))));
    answer(found)
}

fn answer(found: Result<Value, Refusal>) -> Response {
    match found {
        Ok(data) => Json(json!({"data": data})).into_response(),
        Err(refusal) => refusal.into_response(),
    }
}
