//! The HTTP side: what a request may open, and what the Socket.IO library gets to see of it.

use std::net::IpAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::{Extension, Query, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::{Router, http::Method};
use common::claims;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::Deserialize;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;
use tower_http::cors::CorsLayer;

use crate::admission::Refusal;
use crate::connection::Connection;
use crate::gateway::Gateway;
use crate::guard::{GuardedIo, GuardedListener};
use crate::metrics::Reason;

/// How long a connection may wait for its next request. Proxies keep theirs for about a minute.
const IDLE: Duration = Duration::from_secs(75);
/// Most that a request's headers may take; a token may be among them.
const HEADERS: usize = 32 << 10;
/// How long what a client posts may take to arrive.
const POSTING: Duration = Duration::from_secs(20);

/// What is kept of the request that opened a session.
#[derive(Clone)]
pub(crate) struct Opening {
    /// The token of the query, else of the Authorization header, until it has let the socket in.
    pub(crate) token: Arc<Mutex<Option<String>>>,
    /// The browser's address.
    pub(crate) address: IpAddr,
    /// The connection, if the session is a websocket from the start.
    pub(crate) websocket: Option<Connection>,
}

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

#[derive(Deserialize, Default)]
struct SessionQuery {
    #[serde(rename = "EIO", default)]
    protocol: String,
    #[serde(default)]
    transport: String,
    sid: Option<String>,
    token: Option<String>,
}

async fn admit(
    State(gateway): State<Arc<Gateway>>,
    Extension(connection): Extension<Connection>,
    request: Request,
    next: Next,
) -> Response {
    let Query(query) = Query::<SessionQuery>::try_from_uri(request.uri()).unwrap_or_default();
    let upgrade = query.sid.clone().filter(|_| query.transport == "websocket");
    connection.used();
    let address = gateway.admission.address(connection.peer(), request.headers());
    let token = query.token.clone().or_else(|| authorization(request.headers()));
    if query.sid.is_none()
        && let Err(refusal) = gateway.may_open(&connection, address, token.as_deref())
    {
        gateway.counters.refusals.get_or_create(&Reason { reason: refusal.word() }).inc();
        return refuse(refusal);
    }
    let opening = Opening {
        token: Arc::new(Mutex::new(token)),
        address,
        websocket: opens_websocket(&query).then(|| connection.clone()),
    };
    let posts = request.method() == Method::POST;
    let answer = next.run(slim(request, &query, opening));
    let response = if posts {
        timeout(POSTING, answer).await.unwrap_or_else(|_| StatusCode::REQUEST_TIMEOUT.into_response())
    } else {
        answer.await
    };
    if response.status() == StatusCode::SWITCHING_PROTOCOLS
        && let Some(sid) = upgrade.and_then(|sid| sid.parse().ok())
    {
        gateway.counters.upgrades.inc();
        gateway.transports.upgraded(sid, &connection);
    }
    connection.taken();
    response
}

/// Temporary trouble, which the stock client tries again by itself.
fn refuse(refusal: Refusal) -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "1")], refusal.to_string()).into_response()
}

/// Headers that the Socket.IO library reads.
const NEEDED: [HeaderName; 2] = [header::SEC_WEBSOCKET_KEY, header::CONTENT_TYPE];

fn opens_websocket(query: &SessionQuery) -> bool {
    query.sid.is_none() && query.transport == "websocket"
}

/// A copy of what is needed. The library keeps the opening request as long as the socket lives, and the original
/// parts would keep the whole read buffer of the connection alive with them.
fn slim(request: Request, query: &SessionQuery, opening: Opening) -> Request {
    let (parts, body) = request.into_parts();
    let Parts { method, uri, headers, mut extensions, .. } = parts;
    extensions.remove::<Connection>();
    extensions.insert(opening);
    let mut slim = Request::new(body);
    *slim.method_mut() = method;
    *slim.uri_mut() = slim_uri(&uri, query);
    *slim.headers_mut() = needed(&headers);
    *slim.extensions_mut() = extensions;
    slim
}

fn authorization(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    claims::bearer(value).map(str::to_owned)
}

fn slim_uri(uri: &Uri, query: &SessionQuery) -> Uri {
    let SessionQuery { protocol, transport, sid, .. } = query;
    let sid = sid.as_ref().map(|sid| format!("&sid={sid}")).unwrap_or_default();
    let slim = format!("{}?EIO={protocol}&transport={transport}{sid}", uri.path());
    // Only a value that can't stand in an address fails here; without a query the library refuses the request.
    slim.parse().unwrap_or_else(|_| Uri::from_static("/socket.io/"))
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
    fn what_is_kept_of_an_address_has_no_token() {
        let uri: Uri = "/socket.io/?EIO=4&transport=polling&t=1&sid=abc&token=secret".parse().unwrap();
        let Query(query) = Query::<SessionQuery>::try_from_uri(&uri).unwrap();
        assert_eq!(query.token.as_deref(), Some("secret"));
        assert_eq!(slim_uri(&uri, &query).to_string(), "/socket.io/?EIO=4&transport=polling&sid=abc");
    }

    #[test]
    fn an_address_that_can_not_be_copied_is_refused_by_the_library() {
        let uri: Uri = "/socket.io/?EIO=4&transport=polling&sid=a%20b".parse().unwrap();
        let Query(query) = Query::<SessionQuery>::try_from_uri(&uri).unwrap();
        assert_eq!(slim_uri(&uri, &query).query(), None);
    }

    #[test]
    fn of_the_headers_only_the_needed_ones_are_kept() {
        let mut headers = HeaderMap::new();
        for (name, value) in [("authorization", "Bearer t"), ("sec-websocket-key", "k"), ("cookie", "c")] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        assert_eq!(authorization(&headers).as_deref(), Some("t"));
        let kept = needed(&headers);
        assert_eq!((kept.len(), kept.get("sec-websocket-key").unwrap().as_bytes()), (1, b"k".as_slice()));
    }
}
