//! What the page's buttons do.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::site::{Fault, Site};
use crate::client::token;

/// What Telnyx or the carrier does with the next texts.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Telnyx {
    /// Each webhook comes three times, in reverse order.
    RepeatAndReorder,
    /// The carrier can't deliver.
    CarrierFails,
    /// All as usual.
    Calm,
}

#[derive(Deserialize)]
pub(super) struct Session {
    church: String,
    user: String,
    /// Validity in seconds; negative for a token that has ended.
    seconds: i64,
}

pub(super) async fn session(State(site): State<Site>, Json(session): Json<Session>) -> Response {
    match token::mint_until(&site.jwt_secret, &session.church, &session.user, session.seconds) {
        Ok(token) => Json(json!({ "token": token })).into_response(),
        Err(error) => (StatusCode::UNPROCESSABLE_ENTITY, format!("{error:#}")).into_response(),
    }
}

/// Answers once it has happened.
pub(super) async fn fault(State(site): State<Site>, Path(fault): Path<Fault>) -> Response {
    let (done, happened) = oneshot::channel();
    if site.faults.send((fault, done)).await.is_err() {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    match happened.await {
        Ok(Ok(())) => StatusCode::NO_CONTENT.into_response(),
        Ok(Err(error)) => (StatusCode::CONFLICT, format!("{error:#}")).into_response(),
        Err(_) => StatusCode::SERVICE_UNAVAILABLE.into_response(),
    }
}

pub(super) async fn telnyx(State(site): State<Site>, Path(mood): Path<Telnyx>) -> Response {
    let rules: Vec<Value> = match mood {
        Telnyx::RepeatAndReorder => vec![json!({ "copies": 3, "reorder": true })],
        Telnyx::CarrierFails => vec![json!({ "outcome": "failed" })],
        Telnyx::Calm => Vec::new(),
    };
    match site.http.put(format!("{}/simulator/rules", site.telnyx)).json(&rules).send().await {
        Ok(answer) if answer.status().is_success() => StatusCode::NO_CONTENT.into_response(),
        _ => (StatusCode::BAD_GATEWAY, "the simulated Telnyx does not answer").into_response(),
    }
}
