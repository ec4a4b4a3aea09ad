//! Controls the simulator over HTTP. For people and other languages; Rust uses the methods of [`super::Simulator`].
//!
//! - `GET /simulator/book?limit=100&to=0101`: the newest requests, filtered by the end of the number
//! - `GET`, `PUT`, `POST`, `DELETE /simulator/rules`: list, replace, add one before the others, remove all
//! - `POST /simulator/hold` and `/simulator/release`: hold back webhooks, release them
//! - `POST /simulator/repetitions/hold` and `/simulator/repetitions/release`: the same for repeated attempts alone
//! - `POST /simulator/requests/release`: release the requests that a rule holds
//! - `POST /simulator/messages/{id}/{outcome}`: end a message with an outcome
//! - `POST /simulator/inbound`: somebody sends a text ([`InboundText`]); answers once its webhook was answered

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::behaviour::{Outcome, Rule};
use super::book::{CAPACITY, Entry};
use super::callbacks;
use super::hold::Gate;
use super::inbound::{self, InboundDelivery, InboundText};
use super::state::Telnyx;

/// Most rules.
const MAX_RULES: usize = 1_000;

type Shared = State<Arc<Telnyx>>;

pub(super) fn router(telnyx: Arc<Telnyx>) -> Router {
    Router::new()
        .route("/simulator/book", get(book))
        .route("/simulator/rules", get(rules).put(replace).post(add).delete(clear))
        .merge(holding("/simulator", |telnyx| &telnyx.webhooks))
        .merge(holding("/simulator/repetitions", |telnyx| &telnyx.repetitions))
        .route("/simulator/requests/release", post(release_requests))
        .route("/simulator/messages/{id}/{outcome}", post(end))
        .route("/simulator/inbound", post(receive))
        .with_state(telnyx)
}

#[derive(Deserialize)]
struct Search {
    #[serde(default = "a_hundred")]
    limit: usize,
    #[serde(default)]
    to: String,
}

fn a_hundred() -> usize {
    100
}

async fn book(State(telnyx): Shared, Query(search): Query<Search>) -> Json<Value> {
    let state = telnyx.state();
    let fitting = state.book.entries().rev().filter(|entry| entry.to.ends_with(&search.to));
    let entries: Vec<&Entry> = fitting.take(search.limit).collect();
    Json(json!({
        "asked": state.book.asked(),
        "accepted": state.book.accepted(),
        "capacity": CAPACITY,
        "entries": entries,
    }))
}

async fn rules(State(telnyx): Shared) -> Json<Vec<Rule>> {
    Json(telnyx.state().rules.clone())
}

async fn replace(State(telnyx): Shared, Json(rules): Json<Vec<Rule>>) -> StatusCode {
    if rules.len() > MAX_RULES {
        return StatusCode::UNPROCESSABLE_ENTITY;
    }
    telnyx.state().rules = rules;
    StatusCode::NO_CONTENT
}

async fn add(State(telnyx): Shared, Json(rule): Json<Rule>) -> StatusCode {
    let rules = &mut telnyx.state().rules;
    if rules.len() >= MAX_RULES {
        return StatusCode::UNPROCESSABLE_ENTITY;
    }
    rules.insert(0, rule);
    StatusCode::NO_CONTENT
}

async fn clear(State(telnyx): Shared) -> StatusCode {
    telnyx.state().rules.clear();
    StatusCode::NO_CONTENT
}

/// The routes that hold webhooks back at a gate, and release them.
fn holding(path: &str, gate: fn(&Telnyx) -> &Gate) -> Router<Arc<Telnyx>> {
    let set = |closed| {
        post(move |State(telnyx): Shared| async move {
            gate(&telnyx).close(closed);
            StatusCode::NO_CONTENT
        })
    };
    Router::new().route(&format!("{path}/hold"), set(true)).route(&format!("{path}/release"), set(false))
}

async fn release_requests(State(telnyx): Shared) -> StatusCode {
    telnyx.requests.release();
    StatusCode::NO_CONTENT
}

async fn end(State(telnyx): Shared, Path((id, outcome)): Path<(Uuid, Outcome)>) -> StatusCode {
    if callbacks::trigger(&telnyx, id, outcome) { StatusCode::NO_CONTENT } else { StatusCode::NOT_FOUND }
}

async fn receive(State(telnyx): Shared, Json(text): Json<InboundText>) -> Json<InboundDelivery> {
    Json(inbound::receive(&telnyx, text).await)
}
