//! The API for senders: `POST /v2/messages` and `GET /v2/messages/{id}`.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::body::{Body, to_bytes};
use axum::extract::{ConnectInfo, DefaultBodyLimit, Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use bytes::Bytes;
use common::phone::is_e164;
use futures_util::{StreamExt as _, stream};
use serde_json::{Value, json};
use time::OffsetDateTime;
use uuid::Uuid;

use super::account;
use super::behaviour::{Answer, Hold, Request, Rule, is_blocked};
use super::book::{Entry, Retrieval};
use super::callbacks;
use super::connection::Cut;
use super::payload::{Message, segments};
use super::refusal::{Refusal, authenticate};
use super::state::{MAX_UNFINISHED, Telnyx};

/// Most parts of a message.
const MAX_PARTS: usize = 10;
/// Longest webhook URL.
const MAX_URL: usize = 2_000;

pub(super) fn router(telnyx: Arc<Telnyx>) -> Router {
    Router::new()
        .route("/v2/messages", post(send))
        .route("/v2/messages/{id}", get(read))
        .route("/v2/messaging_profiles", get(account::profiles))
        .route("/v2/messaging_profiles/{id}", get(account::profile))
        .route("/v2/phone_numbers", get(account::numbers))
        .layer(DefaultBodyLimit::max(256 << 10))
        .with_state(telnyx)
}

async fn send(
    State(telnyx): State<Arc<Telnyx>>,
    ConnectInfo(cut): ConnectInfo<Cut>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    if let Err(refusal) = authenticate(&telnyx, &headers) {
        return refusal.into_response();
    }
    let Ok(request) = serde_json::from_slice::<Value>(&body) else {
        return Refusal::new(400, "10023", "Invalid JSON", "The body is not JSON.").into_response();
    };
    let at = OffsetDateTime::now_utc();
    let to = request["to"].as_str().unwrap_or_default().to_owned();
    let from = request["from"].as_str().unwrap_or_default();
    let rule = Rule::take(&mut telnyx.state().rules, Request::Send, &to, from);
    tokio::time::sleep(Duration::from_millis(rule.answer_after_ms)).await;
    telnyx.requests.wait(&rule, Hold::Unread).await;
    let verdict = judge(&telnyx, &request, &rule.answer);
    let accepted = verdict.is_ok();
    let message = Message { id: Uuid::now_v7(), request: request.clone(), accepted_at: at };
    let response = match verdict {
        Ok(status) => (StatusCode::OK, Json(json!({"data": message.data(status)}))).into_response(),
        Err(refusal) => refuse(refusal, &rule.answer),
    };
    telnyx.state().book.record(Entry {
        id: message.id,
        at,
        to,
        request,
        accepted,
        answer: (!is_lost(&rule.answer)).then(|| response.status().as_u16()),
        status: if accepted { "queued".into() } else { "refused".into() },
        webhooks: Vec::new(),
        retrievals: Vec::new(),
    });
    if accepted {
        callbacks::follow(&telnyx, message, &rule);
    }
    deliver(&telnyx, response, rule, &cut).await
}

/// Whether nobody gets to see the answer.
fn is_lost(answer: &Answer) -> bool {
    matches!(answer, Answer::Lose | Answer::Drop | Answer::Break)
}

/// Gives the answer, as far as the rule lets it.
async fn deliver(telnyx: &Arc<Telnyx>, response: Response, rule: Rule, cut: &Cut) -> Response {
    telnyx.requests.wait(&rule, Hold::Unanswered).await;
    if matches!(rule.answer, Answer::Lose | Answer::Drop) {
        cut.now();
    }
    if rule.answer != Answer::Break && rule.hold != Some(Hold::Halfway) {
        return response;
    }
    let (parts, body) = response.into_parts();
    // It is our own and small.
    let whole = to_bytes(body, usize::MAX).await.unwrap_or_default();
    let (first, second) = (whole.slice(..whole.len() / 2), whole.slice(whole.len() / 2..));
    let requests = telnyx.requests.clone();
    let rest = stream::once(async move {
        requests.wait(&rule, Hold::Halfway).await;
        if rule.answer == Answer::Break {
            Err(std::io::ErrorKind::ConnectionReset.into())
        } else {
            Ok(second)
        }
    });
    Response::from_parts(parts, Body::from_stream(stream::iter([Ok::<_, std::io::Error>(first)]).chain(rest)))
}

fn refuse(refusal: Refusal, answer: &Answer) -> Response {
    if matches!(answer, Answer::Edge) {
        let headers =
            [("x-ratelimit-limit", "20"), ("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "1")];
        return (StatusCode::TOO_MANY_REQUESTS, headers, Html("<h1>Too Many Requests</h1>")).into_response();
    }
    let mut response = refusal.into_response();
    let retry_after = match answer {
        Answer::Throttle { retry_after } => Some((*retry_after).into()),
        Answer::ThrottleUntil { seconds } => HeaderValue::from_str(&http_date(*seconds)).ok(),
        _ => None,
    };
    response.headers_mut().extend(retry_after.map(|value| (header::RETRY_AFTER, value)));
    response
}

/// So many seconds from now, as HTTP writes moments.
fn http_date(seconds: u64) -> String {
    httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(seconds))
}

/// The refusal that a rule asks for.
fn obey(answer: &Answer) -> Result<(), Refusal> {
    match answer {
        Answer::Throttle { .. } | Answer::ThrottleUntil { .. } | Answer::Edge => Err(too_many()),
        Answer::Refuse { status, code } => {
            Err(Refusal::new(*status, code, "Refused", "A rule of the simulator refuses it."))
        }
        Answer::Drop => Err(Refusal::new(503, "10007", "Unexpected error", "Dropped by a rule.")),
        Answer::Accept | Answer::Lose | Answer::Break => Ok(()),
    }
}

/// The first status of an accepted message.
fn judge(telnyx: &Telnyx, request: &Value, answer: &Answer) -> Result<&'static str, Refusal> {
    obey(answer)?;
    check(request)?;
    let [from, to] = ["from", "to"].map(|field| request[field].as_str().unwrap_or_default().to_owned());
    if is_blocked(&to) || telnyx.state().opted_out.contains(&(from, to)) {
        let detail = "The recipient has answered STOP.";
        return Err(Refusal::new(409, "40300", "Blocked due to STOP message", detail));
    }
    if telnyx.state().unfinished.len() >= MAX_UNFINISHED {
        return Err(too_many());
    }
    Ok(if request["send_at"].is_string() { "scheduled" } else { "queued" })
}

fn too_many() -> Refusal {
    Refusal::new(429, "10011", "Too many requests", "Slow down.")
}

fn check(request: &Value) -> Result<(), Refusal> {
    let text = |field: &str| request[field].as_str().unwrap_or_default();
    if !is_e164(text("to")) {
        return Err(Refusal::of_field(400, "40310", "Invalid 'to' address", "/to"));
    }
    if text("from").is_empty() && text("messaging_profile_id").is_empty() {
        return Err(Refusal::of_field(400, "40305", "Invalid 'from' address", "/from"));
    }
    let media = request["media_urls"].as_array().map_or(0, Vec::len);
    if text("text").is_empty() && media == 0 {
        return Err(Refusal::of_field(400, "10004", "Missing required parameter", "/text"));
    }
    if media > 10 {
        return Err(Refusal::of_field(400, "10015", "Too many media", "/media_urls"));
    }
    if segments(text("text")).1 > MAX_PARTS {
        return Err(Refusal::of_field(400, "40302", "Message too large", "/text"));
    }
    for field in ["/webhook_url", "/webhook_failover_url"] {
        let url = text(&field[1..]);
        if url.len() > MAX_URL || !(url.is_empty() || url.starts_with("http")) {
            return Err(Refusal::of_field(400, "10003", "Invalid URL", field));
        }
    }
    Ok(())
}

async fn read(
    State(telnyx): State<Arc<Telnyx>>,
    ConnectInfo(cut): ConnectInfo<Cut>,
    headers: HeaderMap,
    Path(id): Path<String>,
) -> Response {
    if let Err(refusal) = authenticate(&telnyx, &headers) {
        return refusal.into_response();
    }
    let at = OffsetDateTime::now_utc();
    let known = |id| telnyx.state().book.get(id).filter(|entry| entry.accepted).cloned();
    let Some(entry) = id.parse().ok().and_then(known) else {
        return Refusal::new(404, "10005", "Resource not found", "There is no such message.").into_response();
    };
    let from = entry.request["from"].as_str().unwrap_or_default();
    let rule = Rule::take(&mut telnyx.state().rules, Request::Retrieve, &entry.to, from);
    tokio::time::sleep(Duration::from_millis(rule.answer_after_ms)).await;
    telnyx.requests.wait(&rule, Hold::Unread).await;
    let response = match obey(&rule.answer) {
        Ok(()) => show(&telnyx, &entry).into_response(),
        Err(refusal) => refuse(refusal, &rule.answer),
    };
    let retrieval = Retrieval { at, answer: response.status().as_u16() };
    telnyx.state().book.retrieved(entry.id, retrieval);
    deliver(&telnyx, response, rule, &cut).await
}

/// The message as far as it has got by now.
fn show(telnyx: &Telnyx, entry: &Entry) -> Json<Value> {
    let status =
        telnyx.state().book.get(entry.id).map_or_else(|| entry.status.clone(), |it| it.status.clone());
    let message = Message { id: entry.id, request: entry.request.clone(), accepted_at: entry.at };
    Json(json!({"data": message.data(&status)}))
}
