//! Checks each Engine.IO request before the Socket.IO library sees it, and counts what its answer sends.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody as _, to_bytes};
use axum::extract::{Extension, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value};
use socketioxide::TransportType;
use socketioxide::socket::Sid;
use tokio::time::timeout;
use tracing::{debug, warn};

use crate::connections::{Connection, Refusal, Transport};
use crate::gateway::Gateway;
use crate::http::bad_request::BadRequest;
use crate::http::request::{Action, EngineRequest};
use crate::http::websocket;
use crate::metrics::Reason;

/// How long the body of a post may take to arrive.
const POSTING: Duration = Duration::from_secs(20);

/// Why a request is denied.
enum Denied {
    /// It is wrong for good.
    Bad(BadRequest),
    /// For a temporary reason; the stock client tries again by itself.
    Refused(Refusal),
    /// The client posts too much, or too slowly.
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

/// Middleware around the Socket.IO service.
pub(super) async fn serve(
    State(gateway): State<Arc<Gateway>>,
    Extension(connection): Extension<Connection>,
    request: Request,
    next: Next,
) -> Response {
    connection.got_request();
    let (head, body) = request.into_parts();
    let exchange = Exchange { gateway: &gateway, connection: &connection, next };
    let answer = match EngineRequest::parse(&head) {
        Ok(request) => exchange.run(request, head, body).await,
        Err(bad) => Err(bad.into()),
    };
    connection.consumed();
    answer.unwrap_or_else(|denied| {
        if let Denied::Bad(bad) = &denied {
            debug!(peer = %connection.peer(), reason = %bad, "refused a request");
        }
        denied.into_response()
    })
}

/// One request and its answer.
struct Exchange<'a> {
    gateway: &'a Gateway,
    connection: &'a Connection,
    next: Next,
}

impl Exchange<'_> {
    async fn run(self, request: EngineRequest, head: Parts, body: Body) -> Result<Response, Denied> {
        let EngineRequest { action, token } = request;
        let transport = match action.sid() {
            None => self.new_transport(&head.headers, token)?,
            Some(sid) => self.gateway.transports.find(sid).ok_or(BadRequest::Session)?,
        };
        let body = match action {
            Action::Post(_) => Body::from(self.posted(&transport, body).await?),
            _ => Body::empty(),
        };
        let protocol = websocket::protocol(&head.headers);
        let request = slim(action, head, body, transport.clone());
        let Self { gateway, connection, next } = self;
        let answer = next.run(request).await;
        match (answer.status(), action) {
            (StatusCode::SWITCHING_PROTOCOLS, action) if action.is_websocket() => {
                if action.sid().is_some() {
                    gateway.counters.upgrades.inc();
                }
                transport.use_websocket(connection);
                Ok(with_protocol(answer, protocol))
            }
            (StatusCode::SWITCHING_PROTOCOLS, _) => {
                // The library was asked for something else. An unknown websocket must never stay open.
                warn!(peer = %connection.peer(), "cut a websocket that was not asked for");
                connection.cut();
                Ok(answer)
            }
            (StatusCode::OK, Action::Open(TransportType::Polling)) => {
                opened(gateway, &transport, answer).await
            }
            (StatusCode::OK, Action::Poll(_)) => polled(gateway, &transport, answer).await,
            _ => Ok(answer),
        }
    }

    fn new_transport(&self, headers: &HeaderMap, token: Option<String>) -> Result<Arc<Transport>, Denied> {
        let Self { gateway, connection, .. } = self;
        let address = gateway.proxies.client_address(connection.peer(), headers);
        gateway.may_open(connection, address, token.as_deref()).map_err(|refusal| {
            gateway.counters.refusals.get_or_create(&Reason { reason: refusal.into() }).inc();
            Denied::Refused(refusal)
        })?;
        Ok(Transport::new(token, address, gateway.traffic))
    }

    /// Reads a posted body completely. The library would accept one as large as the largest answer to a poll.
    async fn posted(&self, transport: &Arc<Transport>, body: Body) -> Result<Bytes, Denied> {
        let most = self.gateway.traffic.message.get() as usize;
        if body.size_hint().lower() > most as u64 {
            return Err(Denied::Posted(StatusCode::PAYLOAD_TOO_LARGE));
        }
        let body = timeout(POSTING, to_bytes(body, most)).await;
        let body = body.map_err(|_| Denied::Posted(StatusCode::REQUEST_TIMEOUT))?;
        let body = body.map_err(|_| Denied::Posted(StatusCode::PAYLOAD_TOO_LARGE))?;
        if transport.traffic.receive(body.len()).is_err() {
            self.gateway.transports.close(transport);
            return Err(Denied::Posted(StatusCode::TOO_MANY_REQUESTS));
        }
        Ok(body)
    }
}

/// Registers a session that the answer opens on polling. The answer tells the client how much it may post; the library
/// has one figure for that and for what a poll may return.
async fn opened(gateway: &Gateway, transport: &Arc<Transport>, answer: Response) -> Result<Response, Denied> {
    let (mut head, body) = answer.into_parts();
    let body = read(body).await;
    let Some((sid, packet)) = open_packet(&body, gateway.traffic.message.get()) else {
        warn!("the Socket.IO library opens a session with an unknown packet");
        return Ok(StatusCode::INTERNAL_SERVER_ERROR.into_response());
    };
    gateway.transports.register(sid, transport);
    head.headers.remove(header::CONTENT_LENGTH);
    Ok(Response::from_parts(head, Body::from(packet)))
}

/// The session's id, and the packet with another `maxPayload`.
fn open_packet(body: &[u8], max_payload: u32) -> Option<(Sid, String)> {
    let mut fields: Map<String, Value> = serde_json::from_slice(body.strip_prefix(b"0")?).ok()?;
    let sid = fields.get("sid")?.as_str()?.parse().ok()?;
    fields.insert("maxPayload".into(), max_payload.into());
    Some((sid, format!("0{}", Value::Object(fields))))
}

/// The answer to a poll. Its events use credit until its bytes are written.
async fn polled(gateway: &Gateway, transport: &Arc<Transport>, answer: Response) -> Result<Response, Denied> {
    let (head, body) = answer.into_parts();
    match transport.traffic.poll_answer(read(body).await) {
        Ok(body) => Ok(Response::from_parts(head, Body::from(body))),
        Err(_) => {
            gateway.transports.close(transport);
            Err(Denied::Posted(StatusCode::TOO_MANY_REQUESTS))
        }
    }
}

/// The library's answers are in memory, so this neither waits nor fails.
async fn read(body: Body) -> Bytes {
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

/// Copies what the library needs. It keeps the first request as long as the session lives, and the original parts would
/// keep the connection's whole read buffer alive.
fn slim(action: Action, head: Parts, body: Body, transport: Arc<Transport>) -> Request {
    let Parts { method, headers, mut extensions, .. } = head;
    extensions.remove::<Connection>();
    extensions.insert(transport);
    let mut slim = Request::new(body);
    *slim.method_mut() = method;
    *slim.uri_mut() = action.uri();
    *slim.headers_mut() = needed(&headers);
    *slim.extensions_mut() = extensions;
    slim
}

fn needed(headers: &HeaderMap) -> HeaderMap {
    let copy = |name: HeaderName| {
        let value = HeaderValue::from_bytes(headers.get(&name)?.as_bytes()).ok()?;
        Some((name, value))
    };
    // The default capacity is larger than what it will ever hold.
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
    fn only_the_needed_headers_are_kept() {
        let mut headers = HeaderMap::new();
        for (name, value) in [("authorization", "Bearer t"), ("sec-websocket-key", "k"), ("cookie", "c")] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        let kept = needed(&headers);
        assert_eq!((kept.len(), kept.get("sec-websocket-key").unwrap().as_bytes()), (1, b"k".as_slice()));
    }

    #[test]
    fn a_client_is_told_how_much_it_may_post() {
        let body = br#"0{"sid":"abcdefghijklmnop","upgrades":["websocket"],"maxPayload":2147483647}"#;
        let (sid, packet) = open_packet(body, 16_384).unwrap();
        assert_eq!(sid.as_str(), "abcdefghijklmnop");
        let fields: Value = serde_json::from_str(&packet[1..]).unwrap();
        assert_eq!((&fields["maxPayload"], &fields["upgrades"][0]), (&16_384.into(), &"websocket".into()));
        assert_eq!(open_packet(b"40{}", 1), None);
    }
}
