//! The HTTP side: what a request may open, and what the Socket.IO library gets to see of it.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, HttpBody as _, to_bytes};
use axum::extract::{Extension, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::{Map, Value};
use socketioxide::TransportType;
use socketioxide::socket::Sid;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;
use tower_http::cors::CorsLayer;
use tracing::{debug, warn};

use crate::connections::connection::Connection;
use crate::connections::limits::Refusal;
use crate::connections::listener::{GuardedIo, GuardedListener};
use crate::connections::transports::Carrier;
use crate::gateway::Gateway;
use crate::http::opening::{Asked, BadRequest, Opening};
use crate::http::websocket;
use crate::metrics::Reason;

/// How long a connection may wait for its next request. Proxies keep theirs for about a minute.
const IDLE: Duration = Duration::from_secs(75);
/// Most that a request's headers may take; a token may be among them.
const HEADERS: usize = 32 << 10;
/// How long what a client posts may take to arrive.
const POSTING: Duration = Duration::from_secs(20);

/// The router of browsers: CORS, then admission, then the Socket.IO service.
pub(crate) fn router(gateway: Arc<Gateway>, sessions: Router, cors: CorsLayer) -> Router {
    sessions.layer(from_fn_with_state(gateway, admit)).layer(cors)
}

/// Serves the router until the shutdown, and then until the requests that are under way are answered.
pub(crate) async fn serve(listener: GuardedListener, router: Router, shutdown: CancellationToken) {
    let open = TaskTracker::new();
    while let Some(io) = shutdown.run_until_cancelled(listener.accept()).await {
        open.spawn(carry(io, router.clone(), shutdown.clone()));
    }
    drop(listener);
    open.close();
    open.wait().await;
}

/// One connection, until it ends or becomes a websocket. How it ends is its client's business.
async fn carry(io: GuardedIo, router: Router, shutdown: CancellationToken) {
    let connection = io.connection();
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(connection.clone());
        router.clone().oneshot(request)
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(IDLE).max_buf_size(HEADERS);
    let mut carrying = pin!(http.serve_connection(TokioIo::new(io), service).with_upgrades());
    if shutdown.run_until_cancelled(carrying.as_mut()).await.is_none() {
        carrying.as_mut().graceful_shutdown();
        let _ = carrying.await;
    }
}

/// Why a request does not get what it asks for.
enum Denied {
    /// It never will.
    Bad(BadRequest),
    /// Temporary trouble, which the stock client tries again by itself.
    Refused(Refusal),
    /// What it posts is too large, too slow or too much.
    Posted(StatusCode),
}

impl From<BadRequest> for Denied {
    fn from(bad: BadRequest) -> Self {
        Self::Bad(bad)
    }
}

impl IntoResponse for Denied {
    fn into_response(self) -> Response {
        match self {
            Self::Bad(bad) => bad.into_response(),
            Self::Posted(status) => status.into_response(),
            Self::Refused(refusal) => {
                let later = [(header::RETRY_AFTER, "1")];
                (StatusCode::SERVICE_UNAVAILABLE, later, refusal.to_string()).into_response()
            }
        }
    }
}

async fn admit(
    State(gateway): State<Arc<Gateway>>,
    Extension(connection): Extension<Connection>,
    request: Request,
    next: Next,
) -> Response {
    connection.used();
    let (head, body) = request.into_parts();
    let edge = Edge { gateway: &gateway, connection: &connection, next };
    let answer = match Opening::parse(&head) {
        Ok(opening) => edge.serve(opening, head, body).await,
        Err(bad) => Err(bad.into()),
    };
    connection.taken();
    answer.unwrap_or_else(|denied| {
        if let Denied::Bad(bad) = &denied {
            debug!(peer = %connection.peer(), reason = %bad, "a request is refused");
        }
        denied.into_response()
    })
}

/// What one request needs to be served.
struct Edge<'a> {
    gateway: &'a Gateway,
    connection: &'a Connection,
    next: Next,
}

impl Edge<'_> {
    async fn serve(self, opening: Opening, head: Parts, body: Body) -> Result<Response, Denied> {
        let Opening { asked, token } = opening;
        let carrier = match asked.sid() {
            None => self.new_carrier(&head.headers, token)?,
            Some(sid) => self.gateway.transports.find(sid).ok_or(BadRequest::Session)?,
        };
        let body = match asked {
            Asked::Post(_) => Body::from(self.posted(&carrier, body).await?),
            _ => Body::empty(),
        };
        let protocol = websocket::protocol(&head.headers);
        let request = slim(asked, head, body, carrier.clone());
        let Self { gateway, connection, next } = self;
        let answer = next.run(request).await;
        match (answer.status(), asked) {
            (StatusCode::SWITCHING_PROTOCOLS, asked) if asked.is_websocket() => {
                if asked.sid().is_some() {
                    gateway.counters.upgrades.inc();
                }
                carrier.go_over(connection);
                Ok(with_protocol(answer, protocol))
            }
            (StatusCode::SWITCHING_PROTOCOLS, _) => {
                // It can't be: the library was asked for something else. A websocket that nobody knows is never left open.
                warn!(peer = %connection.peer(), "a websocket that was not asked for is cut");
                connection.cut();
                Ok(answer)
            }
            (StatusCode::OK, Asked::Open(TransportType::Polling)) => opened(gateway, &carrier, answer).await,
            (StatusCode::OK, Asked::Poll(_)) => polled(gateway, &carrier, answer).await,
            _ => Ok(answer),
        }
    }

    fn new_carrier(&self, headers: &HeaderMap, token: Option<String>) -> Result<Arc<Carrier>, Denied> {
        let Self { gateway, connection, .. } = self;
        let address = gateway.admission.address(connection.peer(), headers);
        gateway.may_open(connection, address, token.as_deref()).map_err(|refusal| {
            gateway.counters.refusals.get_or_create(&Reason { reason: refusal.word() }).inc();
            Denied::Refused(refusal)
        })?;
        Ok(Carrier::new(token, address, gateway.traffic))
    }

    /// What a client posts, whole: the library would read as much of it as it may answer to a poll.
    async fn posted(&self, carrier: &Arc<Carrier>, body: Body) -> Result<Bytes, Denied> {
        let most = self.gateway.traffic.message.get() as usize;
        if body.size_hint().lower() > most as u64 {
            return Err(Denied::Posted(StatusCode::PAYLOAD_TOO_LARGE));
        }
        let whole = timeout(POSTING, to_bytes(body, most)).await;
        let whole = whole.map_err(|_| Denied::Posted(StatusCode::REQUEST_TIMEOUT))?;
        let whole = whole.map_err(|_| Denied::Posted(StatusCode::PAYLOAD_TOO_LARGE))?;
        if carrier.traffic.hear(whole.len()).is_err() {
            self.gateway.transports.close(carrier);
            return Err(Denied::Posted(StatusCode::TOO_MANY_REQUESTS));
        }
        Ok(whole)
    }
}

/// The answer that opens a session on polling. The client hears how much it may post, and not how much a poll may
/// bring: the library has one figure for both.
async fn opened(gateway: &Gateway, carrier: &Arc<Carrier>, answer: Response) -> Result<Response, Denied> {
    let (mut head, body) = answer.into_parts();
    let body = whole(body).await;
    let Some((sid, packet)) = open_packet(&body, gateway.traffic.message.get()) else {
        warn!("the Socket.IO library opens a session in words that are not known");
        return Ok(StatusCode::INTERNAL_SERVER_ERROR.into_response());
    };
    gateway.transports.opened(sid, carrier);
    head.headers.remove(header::CONTENT_LENGTH);
    Ok(Response::from_parts(head, Body::from(packet)))
}

/// The session's name, and the packet with another figure in it.
fn open_packet(body: &[u8], max_payload: u32) -> Option<(Sid, String)> {
    let mut fields: Map<String, Value> = serde_json::from_slice(body.strip_prefix(b"0")?).ok()?;
    let sid = fields.get("sid")?.as_str()?.parse().ok()?;
    fields.insert("maxPayload".into(), max_payload.into());
    Some((sid, format!("0{}", Value::Object(fields))))
}

/// What waited for a poll. Its events are out until its bytes are written.
async fn polled(gateway: &Gateway, carrier: &Arc<Carrier>, answer: Response) -> Result<Response, Denied> {
    let (head, body) = answer.into_parts();
    match carrier.traffic.answer(whole(body).await) {
        Ok(body) => Ok(Response::from_parts(head, Body::from(body))),
        Err(_) => {
            gateway.transports.close(carrier);
            Err(Denied::Posted(StatusCode::TOO_MANY_REQUESTS))
        }
    }
}

/// The library's answers are there at once and can't fail.
async fn whole(body: Body) -> Bytes {
    to_bytes(body, usize::MAX).await.unwrap_or_default()
}

fn with_protocol(mut answer: Response, protocol: Option<HeaderValue>) -> Response {
    if let Some(protocol) = protocol {
        answer.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, protocol);
    }
    answer
}

/// Headers that the Socket.IO library reads.
const NEEDED: [HeaderName; 2] = [header::SEC_WEBSOCKET_KEY, header::CONTENT_TYPE];

/// A copy of what is needed. The library keeps the opening request as long as the session lives, and the original
/// parts would keep the whole read buffer of the connection alive with them.
fn slim(asked: Asked, head: Parts, body: Body, carrier: Arc<Carrier>) -> Request {
    let Parts { method, headers, mut extensions, .. } = head;
    extensions.remove::<Connection>();
    extensions.insert(carrier);
    let mut slim = Request::new(body);
    *slim.method_mut() = method;
    *slim.uri_mut() = asked.uri();
    *slim.headers_mut() = needed(&headers);
    *slim.extensions_mut() = extensions;
    slim
}

fn needed(headers: &HeaderMap) -> HeaderMap {
    let copy = |name: HeaderName| {
        let value = HeaderValue::from_bytes(headers.get(&name)?.as_bytes()).ok()?;
        Some((name, value))
    };
    // Left to itself a map makes room for more than it will ever hold.
    let mut kept = HeaderMap::with_capacity(1);
    for (name, value) in NEEDED.into_iter().filter_map(copy) {
        kept.insert(name, value);
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_the_headers_only_the_needed_ones_are_kept() {
        let mut headers = HeaderMap::new();
        for (name, value) in [("authorization", "Bearer t"), ("sec-websocket-key", "k"), ("cookie", "c")] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        let kept = needed(&headers);
        assert_eq!((kept.len(), kept.get("sec-websocket-key").unwrap().as_bytes()), (1, b"k".as_slice()));
    }

    #[test]
    fn a_client_hears_how_much_it_may_post() {
        let body = br#"0{"sid":"abcdefghijklmnop","upgrades":["websocket"],"maxPayload":2147483647}"#;
        let (sid, packet) = open_packet(body, 16_384).unwrap();
        assert_eq!(sid.as_str(), "abcdefghijklmnop");
        let fields: Value = serde_json::from_str(&packet[1..]).unwrap();
        assert_eq!((&fields["maxPayload"], &fields["upgrades"][0]), (&16_384.into(), &"websocket".into()));
        assert_eq!(open_packet(b"40{}", 1), None);
    }
}
