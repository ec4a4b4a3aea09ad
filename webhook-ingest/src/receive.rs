//! The route for webhooks: from the request to its answer. The recipient's id is read from the signed body, never from
//! the path, which can be forged.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, HttpBody as _};
use axum::extract::{Request, State};
use axum::http::Method;
use axum::http::request::Parts;
use axum::{Json, Router};
use bytes::{Bytes, BytesMut};
use common::store::Outcome;
use common::throttle::Throttle;
use common::trace_context::{self, TraceParent};
use futures_util::StreamExt as _;
use serde::Serialize;
use time::OffsetDateTime;
use tokio::time::Instant;
use tracing::{Instrument as _, debug, warn};

use crate::commit::{CommitError, Queue, Slot};
use crate::error::IngestError;
use crate::metrics::IngestMetrics;
use crate::parse::{self, Unreadable};
use crate::settings::DefaultNumber;
use crate::signature::{PublicKeys, SignatureError, SignatureHeaders};

/// Longest body that is accepted.
pub const MAX_BODY: usize = 1024 * 1024;
/// Bytes of an oversized body to drain, so that the sender can read our answer.
const MAX_DRAIN: usize = 4 * MAX_BODY;
/// Time limit for a whole request. Telnyx gives up after two seconds.
pub const ANSWER_WITHIN: Duration = Duration::from_millis(1_500);
/// Longest part of a path that is logged, in characters.
const MAX_LOGGED_PATH: usize = 48;

/// The state of the route.
pub struct Receiver {
    keys: PublicKeys,
    default_number: Option<DefaultNumber>,
    queue: Queue,
    metrics: IngestMetrics,
    /// Limits log lines that strangers can cause.
    throttle: Throttle,
}

impl Receiver {
    /// Accepts webhooks that one of the keys signed, and puts them into the queue. `default_number` is the number of
    /// churches without a sender of their own.
    pub fn new(
        keys: PublicKeys,
        default_number: Option<DefaultNumber>,
        queue: Queue,
        metrics: IngestMetrics,
    ) -> Self {
        Self { keys, default_number, queue, metrics, throttle: Throttle::once_a_minute() }
    }

    /// Counts a refused request, and logs those that operators can act on. The committer logs trouble of the database.
    fn refused(&self, error: IngestError, parts: &Parts) {
        let reason: &str = error.into();
        self.metrics.refused(reason);
        let advice = match error {
            IngestError::Signature(SignatureError::SignatureApiV1) => "",
            IngestError::Signature(_) => "; if Telnyx sent it, check TELNYX_PUBLIC_KEY and the clock",
            IngestError::NotFound | IngestError::MethodNotAllowed => {
                "; if Telnyx sent it, check the webhook's URL"
            }
            IngestError::Commit(CommitError::QueueFull) | IngestError::Late => "; Telnyx sends again",
            _ => return debug!(reason, "not recorded: {error}"),
        };
        if let Some(held_back) = self.throttle.opens(reason) {
            let path: String = parts.uri.path().chars().take(MAX_LOGGED_PATH).collect();
            warn!(reason, path, held_back, "refused a request: {error}{advice}");
        }
    }

    /// Counts and logs a signed body that can't be read.
    fn unreadable(&self, webhook_id: &str, reason: Unreadable) {
        self.metrics.unreadable(reason.into());
        if let Some(held_back) = self.throttle.opens("unreadable") {
            warn!(webhook.id = webhook_id, held_back, "kept a signed webhook that can't be read: {reason}");
        }
    }

    /// Counts and logs an unknown status.
    fn unknown_status(&self, webhook_id: &str, status: &str) {
        let status = self.metrics.unknown_status(status);
        if let Some(held_back) = self.throttle.opens(&format!("status {status}")) {
            warn!(
                webhook.id = webhook_id,
                status, held_back, "a webhook has an unknown status; its event type decided instead"
            );
        }
    }
}

/// The router, with one route for all paths.
pub fn router(receiver: Arc<Receiver>) -> Router {
    // A fallback instead of a path pattern: an extra slash in the configured URL must not lose webhooks.
    Router::new().fallback(receive).with_state(receiver)
}

/// The answer after the commit.
#[derive(Serialize)]
struct Received {
    received: bool,
}

async fn receive(
    State(receiver): State<Arc<Receiver>>,
    request: Request,
) -> Result<Json<Received>, IngestError> {
    let arrived = Instant::now();
    let (parts, body) = request.into_parts();
    let trace = TraceParent::of(&parts.headers);
    let span = trace_context::span(trace.as_ref());
    let answered = async {
        let outcome = handle(&receiver, &parts, trace, body, arrived + ANSWER_WITHIN).await;
        receiver.metrics.answered(arrived.elapsed());
        outcome.inspect_err(|error| receiver.refused(*error, &parts))
    };
    answered.instrument(span).await.map(|()| Json(Received { received: true }))
}

/// Checks the head of a request, which is cheap, before it reserves a slot and reads the body.
async fn handle(
    receiver: &Receiver,
    parts: &Parts,
    trace: Option<TraceParent>,
    body: Body,
    until: Instant,
) -> Result<(), IngestError> {
    if !is_for_webhooks(parts.uri.path()) {
        return Err(IngestError::NotFound);
    }
    if parts.method != Method::POST {
        return Err(IngestError::MethodNotAllowed);
    }
    let now = OffsetDateTime::now_utc();
    let signature = SignatureHeaders::read(&parts.headers, now)?;
    let slot = receiver.queue.reserve(longest(&body))?;
    let recording = record(receiver, &signature, slot, (body, trace), now);
    tokio::time::timeout_at(until, recording).await.unwrap_or(Err(IngestError::Late))
}

/// `/webhooks/telnyx` or `/webhooks/telnyx/{recipientId}`, with any number of slashes at each place.
fn is_for_webhooks(path: &str) -> bool {
    let mut parts = path.split('/').filter(|part| !part.is_empty());
    (parts.next(), parts.next()) == (Some("webhooks"), Some("telnyx")) && parts.count() <= 1
}

/// Reads the body, verifies and parses it, and waits for its commit.
async fn record(
    receiver: &Receiver,
    signature: &SignatureHeaders<'_>,
    slot: Slot,
    (body, trace): (Body, Option<TraceParent>),
    now: OffsetDateTime,
) -> Result<(), IngestError> {
    let verified = signature.verify(read_body(body).await?, &receiver.keys)?;
    let mut parsed = parse::webhook(&verified, receiver.default_number.as_ref(), now);
    parsed.webhook.trace_parent = trace;
    let webhook_id = parsed.webhook.event_id.clone();
    // A repetition was logged when it came first.
    if slot.commit(parsed.webhook).await? != Outcome::Duplicate {
        if let Some(reason) = parsed.unreadable {
            receiver.unreadable(&webhook_id, reason);
        }
        for status in &parsed.unknown_statuses {
            receiver.unknown_status(&webhook_id, status);
        }
    }
    Ok(())
}

/// The length of the body, or the most that is read of it.
fn longest(body: &Body) -> usize {
    let announced = body.size_hint().exact().and_then(|length| usize::try_from(length).ok());
    announced.map_or(MAX_BODY, |length| length.min(MAX_BODY))
}

/// Reads the whole body, with or without `Content-Length`.
async fn read_body(body: Body) -> Result<Bytes, IngestError> {
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if announced > MAX_DRAIN {
        return Err(IngestError::TooLarge);
    }
    let mut whole = BytesMut::with_capacity(announced.min(MAX_BODY));
    let (mut chunks, mut length) = (body.into_data_stream(), 0);
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|_| IngestError::BodyBroken)?;
        length += chunk.len();
        if length <= MAX_BODY {
            whole.extend_from_slice(&chunk);
        } else if length > MAX_DRAIN {
            break;
        }
    }
    if length > MAX_BODY { Err(IngestError::TooLarge) } else { Ok(whole.freeze()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extra_slashes_are_accepted_and_other_paths_are_not() {
        let id = "0195a3c0-7a30-7c51-9d5e-0a1b2c3d4e5f";
        for path in ["/webhooks/telnyx", "/webhooks/telnyx/", "//webhooks/telnyx", "/webhooks//telnyx//"] {
            assert!(is_for_webhooks(path), "{path}");
            assert!(is_for_webhooks(&format!("{path}/{id}")) && is_for_webhooks(&format!("{path}/{id}/")));
            assert!(!is_for_webhooks(&format!("{path}/{id}/more")), "{path}");
        }
        for path in [
            "/",
            "",
            "/webhooks",
            "/webhooks/",
            "/webhooks/telnyxes",
            "/telnyx/webhooks",
            "/x/webhooks/telnyx",
        ] {
            assert!(!is_for_webhooks(path), "{path}");
        }
    }
}
