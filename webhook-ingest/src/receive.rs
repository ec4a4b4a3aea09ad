//! The way of a webhook from the socket to its answer. The path decides nothing: what is in it may be forged, and
//! the recipient's id is read from the signed body.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use axum::body::{Body, HttpBody as _};
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::routing::post;
use axum::{Json, Router};
use bytes::{Bytes, BytesMut};
use common::store::Outcome;
use futures_util::StreamExt as _;
use serde::Serialize;
use time::OffsetDateTime;
use tokio::time::Instant;
use tracing::{debug, warn};

use crate::commit::{Place, Queue, Unrecorded};
use crate::error::Refused;
use crate::metrics::IngestMetrics;
use crate::parse;
use crate::signature::{PublicKeys, Refusal, Unverified};

/// The longest body that is taken.
pub const MAX_BODY: usize = 1024 * 1024;
/// How far a body that is too long is read on, so that the sender hears the answer instead of a broken connection.
const MAX_READ_ON: usize = 4 * MAX_BODY;
/// All waiting together. Telnyx gives up after two seconds.
pub const ANSWER_WITHIN: Duration = Duration::from_millis(1_500);
/// Each kind of trouble is told at most this often, whatever a stranger sends.
const SECONDS_BETWEEN_WARNINGS: u64 = 60;

/// What receiving needs.
pub struct Reception {
    keys: PublicKeys,
    queue: Queue,
    metrics: IngestMetrics,
    api_v1: Throttle,
    unsigned: Throttle,
    overload: Throttle,
}

impl Reception {
    /// Believes whoever holds one of these keys, and hands on to the queue.
    pub fn new(keys: PublicKeys, queue: Queue, metrics: IngestMetrics) -> Self {
        Self {
            keys,
            queue,
            metrics,
            api_v1: Throttle::default(),
            unsigned: Throttle::default(),
            overload: Throttle::default(),
        }
    }

    /// Tells operators what they can do something about, and not more often than they can read. The committer tells
    /// of the database.
    fn tell(&self, refused: Refused) {
        let now = OffsetDateTime::now_utc().unix_timestamp();
        let reason = refused.code();
        match refused {
            Refused::Unsigned(Refusal::ApiV1) if self.api_v1.opens(now) => {
                warn!(reason, "refused a webhook: {refused}");
            }
            Refused::Unsigned(_) if self.unsigned.opens(now) => {
                warn!(
                    reason,
                    "refused a webhook: {refused}; if Telnyx sent it, check TELNYX_PUBLIC_KEY and the clock"
                );
            }
            Refused::Unrecorded(Unrecorded::QueueFull) | Refused::Late if self.overload.opens(now) => {
                warn!(reason, "answering 503: {refused}; Telnyx sends again");
            }
            _ => debug!(reason, "not recorded: {refused}"),
        }
    }
}

/// The routes of the service.
pub fn router(reception: Arc<Reception>) -> Router {
    Router::new()
        .route("/webhooks/telnyx", post(receive))
        .route("/webhooks/telnyx/{recipient_id}", post(receive))
        .method_not_allowed_fallback(async || Refused::NotPost)
        .fallback(async || Refused::NotFound)
        .with_state(reception)
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
    let taken = match reception.queue.take_place() {
        Ok(place) => {
            let taking = take(&reception, place, request);
            tokio::time::timeout_at(arrived + ANSWER_WITHIN, taking).await.unwrap_or(Err(Refused::Late))
        }
        Err(full) => Err(full.into()),
    };
    reception.metrics.answered(arrived.elapsed());
    match taken {
        Ok(_) => Ok(Json(Received { received: true })),
        Err(refused) => {
            reception.metrics.refused(refused.code());
            reception.tell(refused);
            Err(refused)
        }
    }
}

/// Reads, verifies, parses and waits for the commit.
async fn take(reception: &Reception, place: Place, request: Request) -> Result<Outcome, Refused> {
    let (Parts { headers, .. }, body) = request.into_parts();
    let body = read(body).await?;
    let now = OffsetDateTime::now_utc();
    let verified = Unverified::new(&headers, body).verify(&reception.keys, now)?;
    let webhook = parse::webhook(&verified, now)?;
    Ok(place.commit(webhook).await?)
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

/// Opens once in a while.
#[derive(Default)]
struct Throttle(AtomicI64);

impl Throttle {
    /// Whether it opens at this second; it then stays closed for a minute.
    fn opens(&self, now: i64) -> bool {
        let last = self.0.load(Ordering::Relaxed);
        let due = now.abs_diff(last) >= SECONDS_BETWEEN_WARNINGS;
        due && self.0.compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warning_is_repeated_once_a_minute() {
        let throttle = Throttle::default();
        let opened: Vec<_> =
            [1_000, 1_001, 1_059, 1_060, 1_061, 900].into_iter().map(|now| throttle.opens(now)).collect();
        assert_eq!(opened, [true, false, false, true, false, true]);
    }
}
