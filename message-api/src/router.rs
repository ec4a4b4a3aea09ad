//! The routes, and the layers that every request passes.

use std::any::Any;
use std::time::Instant;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, MatchedPath, Request, State};
use axum::http::Method;
use axum::http::header::CONTENT_TYPE;
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use common::trace_context::{self, TraceParent};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::cors::CorsLayer;
use tracing::{Instrument as _, debug};

use crate::app::{App, MAX_BODY_MIB, Trace, WriteStarted};
use crate::document;
use crate::error::{ApiError, Code};
use crate::messages;
use crate::metrics::{CodeLabels, RequestLabels, RouteLabels};

/// Builds the router. The layers are listed from the inside to the outside.
pub(crate) fn router(app: App, cors: CorsLayer) -> Router {
    let (routes, document) = document::described(messages::routes()).split_for_parts();
    let document = Bytes::from(document.to_json().unwrap_or_default());
    routes
        .route("/api/openapi.json", get(move || async { ([(CONTENT_TYPE, "application/json")], document) }))
        .fallback(|| async { ApiError::UnknownRoute })
        .method_not_allowed_fallback(|| async { ApiError::UnknownMethod })
        .layer(DefaultBodyLimit::max(MAX_BODY_MIB * 1024 * 1024))
        .layer(from_fn_with_state(app.clone(), bounded))
        .layer(CatchPanicLayer::custom(internal))
        .layer(from_fn_with_state(app.clone(), observed))
        .layer(from_fn(traced))
        .layer(cors)
        .with_state(app)
}

/// Refuses requests until the database's schema is ready, and ends those that take too long.
async fn bounded(State(app): State<App>, mut request: Request, next: Next) -> Response {
    if !app.schema_ready.is_cancelled() && !app.health.report().0 {
        return ApiError::Starting.into_response();
    }
    let write_started = WriteStarted::default();
    request.extensions_mut().insert(write_started.clone());
    match tokio::time::timeout(app.request_timeout, next.run(request)).await {
        Ok(response) => response,
        Err(_) if write_started.is_set() => ApiError::OutcomeUnknown.into_response(),
        Err(_) => ApiError::TimedOut.into_response(),
    }
}

/// Marks the log lines of a request that belongs to a trace, and tells the handlers.
async fn traced(mut request: Request, next: Next) -> Response {
    let trace: Trace = TraceParent::of(request.headers());
    let span = trace_context::span(trace.as_ref());
    request.extensions_mut().insert(trace);
    next.run(request).instrument(span).await
}

/// Counts and times requests. Unknown paths share one label, and unknown methods, too, so that callers can't create
/// labels.
async fn observed(State(app): State<App>, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let method = method_label(request.method());
    let route = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    let response = next.run(request).await;
    let route = route.unwrap_or_else(|| "unmatched".into());
    let (status, took) = (response.status().as_u16(), started.elapsed());
    debug!(method, route, status, duration_ms = took.as_millis() as u64, "answered");
    if let Some(code) = response.extensions().get::<Code>() {
        app.metrics.errors.get_or_create(&CodeLabels { code: (*code).into() }).inc();
    }
    let labels = RouteLabels { method, route };
    app.metrics.request_seconds.get_or_create(&labels).observe(took.as_secs_f64());
    let RouteLabels { method, route } = labels;
    app.metrics.requests.get_or_create(&RequestLabels { method, route, status }).inc();
    response
}

fn method_label(method: &Method) -> &'static str {
    let known = ["GET", "POST", "HEAD", "OPTIONS", "PUT", "PATCH", "DELETE"];
    known.into_iter().find(|known| method.as_str() == *known).unwrap_or("other")
}

fn internal(_: Box<dyn Any + Send>) -> Response {
    ApiError::Internal.into_response()
}
