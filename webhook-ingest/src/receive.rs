//! The way of a webhook from the socket to its answer. The path decides nothing: what is in it may be forged, and
//! the recipient's id is read from the signed body.

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
use futures_util::StreamExt as _;
use serde::Serialize;
use time::OffsetDateTime;
use tokio::time::Instant;
use tracing::{debug, warn};

use crate::commit::{Place, Queue, Unrecorded};
use crate::error::Refused;
use crate::metrics::IngestMetrics;
use crate::parse::{self, Unreadable};
use crate::signature::{Claim, PublicKeys, Refusal};

/// The longest body that is taken.
pub const MAX_BODY: usize = 1024 * 1024;
/// How far a body that is too long is read on, so that the sender hears the answer instead of a broken connection.
const MAX_READ_ON: usize = 4 * MAX_BODY;
/// All waiting together. Telnyx gives up after two seconds.
pub const ANSWER_WITHIN: Duration = Duration::from_millis(1_500);
/// As much of a path as is shown, in characters.
const SHOWN_PATH: usize = 48;

/// What receiving needs.
pub struct Reception {
    keys: PublicKeys,
    queue: Queue,
    metrics: IngestMetrics,
    /// Each kind of trouble is told once a minute, whatever a stranger sends.
    throttle: Throttle,
}

impl Reception {
    /// Believes whoever holds one of these keys, and hands on to the queue.
    pub fn new(keys: PublicKeys, queue: Queue, metrics: IngestMetrics) -> Self {
        Self { keys, queue, metrics, throttle: Throttle::once_a_minute() }
    }

    /// Counts a refusal, and tells operators what they can do something about. The committer tells of the database.
    fn refused(&self, refused: Refused, parts: &Parts) {
        let reason = refused.code();
        self.metrics.refused(reason);
        let advice = match refused {
            Refused::Unsigned(Refusal::ApiV1) => "",
            Refused::Unsigned(_) => "; if Telnyx sent it, check TELNYX_PUBLIC_KEY and the clock",
            Refused::NotFound | Refused::NotPost => "; if Telnyx sent it, check the webhook's URL",
            Refused::Unrecorded(Unrecorded::QueueFull) | Refused::Late => "; Telnyx sends again",
            _ => return debug!(reason, "not recorded: {refused}"),
        };
        if let Some(held_back) = self.throttle.opens(reason) {
            let path: String = parts.uri.path().chars().take(SHOWN_PATH).collect();
            warn!(reason, path, held_back, "refused a request: {refused}{advice}");
        }
    }

    /// Counts a signed body that can't be read, and tells of it.
    fn unreadable(&self, webhook_id: &str, reason: Unreadable) {
        self.metrics.unreadable(reason.as_str());
        if let Some(held_back) = self.throttle.opens("unreadable") {
            warn!(webhook.id = webhook_id, held_back, "kept a signed webhook that can't be read: {reason}");
        }
    }

    /// Counts a word for a status that is not known, and tells of it.
    fn unknown_status(&self, webhook_id: &str, word: &str) {
        let word = self.metrics.unknown_status(word);
        if let Some(held_back) = self.throttle.opens(&format!("status {word}")) {
            warn!(
                webhook.id = webhook_id,
                word, held_back, "a webhook has a status that is not known; the event's type decided"
            );
        }
    }
}

/// The service's one route.
pub fn router(reception: Arc<Reception>) -> Router {
    // Not a route of the router's: a slash too many must not lose a webhook.
    Router::new().fallback(receive).with_state(reception)
}

/// The answer after the commit.
#[derive(Serialize)]
struct Received {
    received: bool,
}

async fn receive(
    State(reception): State<Arc<Reception>>,
    request: Request,
) -> Result<Json<Received>, Refused> {
    let arrived = Instant::now();
    let (parts, body) = request.into_parts();
    let taken = take(&reception, &parts, body, arrived + ANSWER_WITHIN).await;
    reception.metrics.answered(arrived.elapsed());
    match taken {
        Ok(()) => Ok(Json(Received { received: true })),
        Err(refused) => {
            reception.refused(refused, &parts);
            Err(refused)
        }
    }
}

/// Judges the head of a request, which costs nothing, before it takes a place and reads the body.
async fn take(reception: &Reception, parts: &Parts, body: Body, until: Instant) -> Result<(), Refused> {
    if !is_for_webhooks(parts.uri.path()) {
        return Err(Refused::NotFound);
    }
    if parts.method != Method::POST {
        return Err(Refused::NotPost);
    }
    let now = OffsetDateTime::now_utc();
    let claim = Claim::read(&parts.headers, now)?;
    let place = reception.queue.take_place()?;
    let recording = record(reception, &claim, place, body, now);
    tokio::time::timeout_at(until, recording).await.unwrap_or(Err(Refused::Late))
}

/// `/webhooks/telnyx` or `/webhooks/telnyx/{recipientId}`, with any number of slashes at each place.
fn is_for_webhooks(path: &str) -> bool {
    let mut parts = path.split('/').filter(|part| !part.is_empty());
    (parts.next(), parts.next()) == (Some("webhooks"), Some("telnyx")) && parts.count() <= 1
}

/// Reads the body, verifies and parses it, and waits for its commit.
async fn record(
    reception: &Reception,
    claim: &Claim<'_>,
    place: Place,
    body: Body,
    now: OffsetDateTime,
) -> Result<(), Refused> {
    let verified = claim.verify(read(body).await?, &reception.keys)?;
    let reading = parse::webhook(&verified, now);
    let webhook_id = reading.webhook.event_id.clone();
    // A repetition was told of when it first came.
    if place.commit(reading.webhook).await? != Outcome::Duplicate {
        if let Some(reason) = reading.unreadable {
            reception.unreadable(&webhook_id, reason);
        }
        for word in &reading.unknown_statuses {
            reception.unknown_status(&webhook_id, word);
        }
    }
    Ok(())
}

/// The whole body, whether its length was announced or not.
async fn read(body: Body) -> Result<Bytes, Refused> {
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if announced > MAX_READ_ON {
        return Err(Refused::TooLarge);
    }
    let mut whole = BytesMut::with_capacity(announced.min(MAX_BODY));
    let (mut chunks, mut length) = (body.into_data_stream(), 0);
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|_| Refused::BodyBroken)?;
        length += chunk.len();
        if length <= MAX_BODY {
            whole.extend_from_slice(&chunk);
        } else if length > MAX_READ_ON {
            break;
        }
    }
    if length > MAX_BODY { Err(Refused::TooLarge) } else { Ok(whole.freeze()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slash_too_many_changes_nothing_and_anything_else_is_not_for_webhooks() {
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
