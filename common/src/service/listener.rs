//! Listeners: binding, accepting, and serving a router until shutdown.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::reserve::{Accepted, ReservedListener, pause_after};

/// Binds the listener of a setting. The error names its variable and its address, and says what to do. It is no
/// [`ConfigError`](crate::config::ConfigError): the process that uses the address may end, so a restart may help.
///
/// # Errors
/// The address is taken, or not one of this machine.
pub async fn bind(variable: &'static str, address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| {
        format!("{variable}: can't listen on {address}; choose another address, or stop what uses it")
    })
}

/// How long a stopping service waits for running requests.
const STOP_GRACE: Duration = Duration::from_secs(10);
/// How long a connection may wait for a request, or for the rest of its headers.
const HEADER_TIMEOUT: Duration = Duration::from_secs(60);
/// The same for a connection that took the reserved file descriptor: the next one needs it.
const LAST_TIMEOUT: Duration = Duration::from_secs(2);
/// Connections to one listener at once; more wait to be accepted.
const MAX_CONNECTIONS: usize = 8_192;

/// Serves a router until the shutdown token is cancelled, then waits up to ten seconds for running requests. Sets
/// TCP_NODELAY. Closes a connection that sends no request for a minute.
pub async fn serve_http(listener: TcpListener, router: Router, shutdown: CancellationToken) {
    let (http, last) = (http(HEADER_TIMEOUT, true), http(LAST_TIMEOUT, false));
    let (open, places) = (GracefulShutdown::new(), Arc::new(Semaphore::new(MAX_CONNECTIONS)));
    let listener = ReservedListener::new(listener);
    while let Some((accepted, place)) =
        shutdown.run_until_cancelled(next_connection(&listener, &places)).await
    {
        let Accepted { stream, last: taken } = accepted;
        let http = if taken.is_some() { &last } else { &http };
        // Fails only on a closed stream, which the first read reports.
        let _ = stream.set_nodelay(true);
        let connection =
            http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router.clone()));
        let connection = open.watch(connection);
        tokio::spawn(async move {
            // Errors of a connection concern its client alone.
            let _ = connection.await;
            drop((taken, place));
        });
    }
    drop(listener);
    if tokio::time::timeout(STOP_GRACE, open.shutdown()).await.is_err() {
        warn!("stopping; requests are still running");
    }
}

fn http(header_timeout: Duration, keep_alive: bool) -> hyper::server::conn::http1::Builder {
    let mut http = hyper::server::conn::http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(header_timeout).keep_alive(keep_alive);
    http
}

async fn next_connection(
    listener: &ReservedListener,
    places: &Arc<Semaphore>,
) -> (Accepted, OwnedSemaphorePermit) {
    let Ok(place) = places.clone().acquire_owned().await else { return std::future::pending().await };
    (listener.accept().await, place)
}

/// The next connection and its peer. Tries again after errors such as too many open files.
pub async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
            Err(error) => pause_after(&error).await,
        }
    }
}
