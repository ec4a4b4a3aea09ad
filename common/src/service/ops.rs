//! The operators' listener.

use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::Serialize;
use time::OffsetDateTime;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use super::context::Context;
use super::listener::serve_http;
use crate::event::timestamp;
use crate::version::VERSION;

/// The operators' listener: `/about`, `/livez`, `/readyz`, `/metrics`, and the service's own answers.
pub(super) async fn serve_ops(
    name: &'static str,
    listener: TcpListener,
    context: Context,
    done: CancellationToken,
) {
    let about = About { service: name, version: VERSION, started_at: OffsetDateTime::now_utc() };
    let router = Router::new()
        .route("/about", get(async move || Json(about)))
        .route("/livez", get(|| async { "alive\n" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .fallback(own_answers)
        .with_state(context);
    serve_http(listener, router, done).await
}

/// Which process answers.
#[derive(Clone, Serialize)]
#[serde(rename_all = "camelCase")]
struct About {
    service: &'static str,
    version: &'static str,
    #[serde(with = "timestamp")]
    started_at: OffsetDateTime,
}

async fn readyz(State(context): State<Context>) -> impl IntoResponse {
    let (ready, report) = context.health.report();
    (if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, report)
}

async fn own_answers(State(context): State<Context>, request: Request) -> Response {
    let Some(routes) = context.operators.get().cloned() else {
        return StatusCode::NOT_FOUND.into_response();
    };
    routes.oneshot(request).await.into_response()
}

async fn metrics(State(context): State<Context>) -> impl IntoResponse {
    (
        [(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")],
        context.metrics.encode(),
    )
}
