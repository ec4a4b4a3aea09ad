//! Serves the page.

use std::net::SocketAddr;

use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::json;
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

use super::site::Site;
use super::{control, events, files, guard};

/// A served page. Dropping it ends that.
pub struct Page {
    _serving: AbortOnDropHandle<()>,
}

impl Page {
    /// Serves the page on a listener.
    pub fn start(listener: TcpListener, site: Site) -> Self {
        let service = router(site).into_make_service_with_connect_info::<SocketAddr>();
        let serving = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, service).await {
                tracing::error!("the page to try it on stopped: {error}");
            }
        });
        Self { _serving: AbortOnDropHandle::new(serving) }
    }
}

fn router(site: Site) -> Router {
    let trusted = Router::new()
        .route("/faults/{fault}", post(control::fault))
        .route("/telnyx/{mood}", post(control::telnyx))
        .layer(from_fn_with_state(site.clone(), guard::trusted));
    let invited = Router::new()
        .route("/addresses", get(addresses))
        .route("/session", post(control::session))
        .route("/events", get(events::events))
        .layer(from_fn_with_state(site.clone(), guard::invited));
    Router::new()
        .route("/", get(async |State(site): State<Site>, headers| files::page(&connects(&site, &headers))))
        .route("/api", get(async |State(site): State<Site>, headers| files::api(&connects(&site, &headers))))
        .merge(trusted)
        .merge(invited)
        .fallback(file)
        .with_state(site)
}

fn connects(site: &Site, headers: &HeaderMap) -> Vec<String> {
    site.connects(&guard::name_of(headers))
}

/// Where the page finds the services, and whether it has buttons.
async fn addresses(
    State(site): State<Site>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
) -> Response {
    let (api, gateway) = site.addresses(&guard::name_of(&headers));
    let has_buttons = guard::may_control(&site, peer, &headers);
    Json(json!({ "api": api, "gateway": gateway, "hasButtons": has_buttons })).into_response()
}

async fn file(State(site): State<Site>, request: Request) -> Response {
    let found = files::file(request.uri().path(), &site.fetched).await;
    found.unwrap_or_else(|| (StatusCode::NOT_FOUND, "there is no such file").into_response())
}
