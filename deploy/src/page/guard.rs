//! Who may use the page.

use std::net::SocketAddr;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::site::Site;
use crate::web;

/// The header with the secret of the printed address.
pub(super) const SECRET: &str = "x-stack-secret";

/// Lets only this machine's browsers in, by the secret: not another page that guesses the port, and not one whose name
/// was made to lead here.
pub(super) async fn trusted(
    State(site): State<Site>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
    next: Next,
) -> Response {
    if may_control(&site, peer, request.headers()) {
        return next.run(request).await;
    }
    (StatusCode::FORBIDDEN, "open the page by the address that `make up` prints, on this machine")
        .into_response()
}

/// Lets in who knows one of the secrets.
pub(super) async fn invited(
    State(site): State<Site>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
    next: Next,
) -> Response {
    if may_control(&site, peer, request.headers()) || gives(request.headers(), &site.view_secret) {
        return next.run(request).await;
    }
    (StatusCode::FORBIDDEN, "open the page by an address that `make up` prints").into_response()
}

/// Whether a request may work the buttons.
pub(super) fn may_control(site: &Site, peer: SocketAddr, headers: &HeaderMap) -> bool {
    peer.ip().is_loopback() && web::is_local(headers) && gives(headers, &site.secret)
}

fn gives(headers: &HeaderMap, secret: &str) -> bool {
    let given = headers.get(SECRET).map_or(&b""[..], |value| value.as_bytes());
    verify_slices_are_equal(given, secret.as_bytes()).is_ok()
}

/// The name by which a request reached this machine, if it is a plain one.
pub(super) fn name_of(headers: &HeaderMap) -> String {
    let host = headers.get(header::HOST).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    let is_plain =
        name.chars().all(|character| character.is_ascii_alphanumeric() || ".-[]:".contains(character));
    if is_plain && !name.is_empty() { name.to_owned() } else { "127.0.0.1".to_owned() }
}
