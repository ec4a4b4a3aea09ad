//! Serves browsers over HTTP/1.1.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::middleware::from_fn_with_state;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;
use tower_http::cors::CorsLayer;

use crate::connections::{ClientStream, Listener};
use crate::gateway::Gateway;
use crate::http::engine_io;

/// How long a connection may wait for its next request. Proxies keep theirs for about a minute.
const IDLE: Duration = Duration::from_secs(75);
/// Bytes that a request's headers may take. A token may be among them.
const HEADERS: usize = 32 << 10;

/// The router for browsers: CORS, then the checks of this gateway, then the Socket.IO service.
pub(crate) fn router(gateway: Arc<Gateway>, sessions: Router, cors: CorsLayer) -> Router {
    sessions.layer(from_fn_with_state(gateway, engine_io::serve)).layer(cors)
}

/// Serves the router until the shutdown, and then until the running requests are answered.
pub(crate) async fn serve(listener: Listener, router: Router, shutdown: CancellationToken) {
    let open = TaskTracker::new();
    while let Some(stream) = shutdown.run_until_cancelled(listener.accept()).await {
        open.spawn(serve_connection(stream, router.clone(), shutdown.clone()));
    }
    drop(listener);
    open.close();
    open.wait().await;
}

/// Serves one connection until it is closed or becomes a websocket. Its errors concern only its client.
async fn serve_connection(stream: ClientStream, router: Router, shutdown: CancellationToken) {
    let connection = stream.connection();
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(connection.clone());
        router.clone().oneshot(request)
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(IDLE).max_buf_size(HEADERS);
    let mut serving = pin!(http.serve_connection(TokioIo::new(stream), service).with_upgrades());
    if shutdown.run_until_cancelled(serving.as_mut()).await.is_none() {
        serving.as_mut().graceful_shutdown();
        let _ = serving.await;
    }
}
