//! Who may use the page.

use std::net::{IpAddr, SocketAddr};

use aws_lc_rs::constant_time::verify_slices_are_equal;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::site::Site;

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
    peer.ip().is_loopback() && is_local(headers) && gives(headers, &site.secret)
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

/// Whether the request was made to this machine's own name, and by a page of the same origin if by a page.
fn is_local(headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).and_then(|value: &header::HeaderValue| value.to_str().ok());
    let Some(host) = text(header::HOST) else { return false };
    let origin_fits = text(header::ORIGIN).is_none_or(|origin| origin.strip_prefix("http://") == Some(host));
    names_this_machine(host) && origin_fits
}

fn names_this_machine(host: &str) -> bool {
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    let is_loopback =
        |name: &str| name.trim_matches(['[', ']']).parse().is_ok_and(|ip: IpAddr| ip.is_loopback());
    name == "localhost" || is_loopback(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(host: &str, origin: Option<&str>) -> HeaderMap {
        let mut headers = HeaderMap::from_iter([(header::HOST, host.parse().unwrap())]);
        if let Some(origin) = origin {
            headers.insert(header::ORIGIN, origin.parse().unwrap());
        }
        headers
    }

    #[test]
    fn only_this_machines_names_and_the_page_itself_are_local() {
        for host in ["127.0.0.1:8093", "localhost:8093", "[::1]:8093", "127.0.0.1"] {
            assert!(is_local(&headers(host, None)), "{host}");
            assert!(is_local(&headers(host, Some(&format!("http://{host}")))), "{host}");
        }
        for (host, origin) in [
            ("evil.example", None),
            ("127.0.0.1.evil.example:8093", None),
            ("192.168.1.5:8093", None),
            ("127.0.0.1:8093", Some("http://evil.example")),
            ("127.0.0.1:8093", Some("http://127.0.0.1:3000")),
            ("127.0.0.1:8093", Some("null")),
        ] {
            assert!(!is_local(&headers(host, origin)), "{host} {origin:?}");
        }
    }
}
