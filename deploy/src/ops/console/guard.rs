//! Who may use the console.

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use serde::Deserialize;

use super::site::Site;
use crate::web;

/// For every request: it was made to an address or to `localhost`, because another name may have been made to lead here,
/// and by a page of the console itself if by a page. Nothing of the answer is kept or shown in another page.
pub(super) async fn own_pages(request: Request, next: Next) -> Response {
    if !is_own(request.method(), request.headers()) {
        return (StatusCode::FORBIDDEN, "open the console by the address that it printed").into_response();
    }
    let mut answer = next.run(request).await;
    let headers = answer.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert("cross-origin-resource-policy", HeaderValue::from_static("same-origin"));
    headers.entry(header::CONTENT_SECURITY_POLICY).or_insert(HeaderValue::from_static("default-src 'none'"));
    answer
}

/// What a page sends to be let in.
#[derive(Deserialize)]
pub(super) struct Entry {
    token: String,
}

/// Exchanges the token of the printed address for the cookie.
pub(super) async fn enter(State(site): State<Site>, Json(entry): Json<Entry>) -> Response {
    match site.session.exchange(&entry.token) {
        Some(cookie) => (StatusCode::NO_CONTENT, [(header::SET_COOKIE, cookie)]).into_response(),
        None => (StatusCode::FORBIDDEN, "the token is wrong or was used before").into_response(),
    }
}

/// For every request about data: it has the session's cookie.
pub(super) async fn in_session(State(site): State<Site>, request: Request, next: Next) -> Response {
    if site.session.knows(request.headers()) {
        return next.run(request).await;
    }
    let says = "this browser has no session; open the address that the console printed, or start it again";
    (StatusCode::UNAUTHORIZED, says).into_response()
}

fn is_own(method: &Method, headers: &HeaderMap) -> bool {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let is_address = web::names_this_machine(host) || web::is_ip(host);
    // A browser gives the origin of each POST.
    let has_origin = headers.contains_key(header::ORIGIN) || *method == Method::GET;
    is_address && has_origin && web::is_of_origin(headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_name_or_origin_and_a_post_of_no_page_are_refused() {
        let is_own = |method: Method, host: &str, origin: Option<&str>| {
            let mut headers = HeaderMap::from_iter([(header::HOST, host.parse().unwrap())]);
            headers.extend(origin.map(|origin| (header::ORIGIN, origin.parse().unwrap())));
            is_own(&method, &headers)
        };
        for host in ["127.0.0.1:9085", "localhost:7000", "[::1]:9085", "192.168.1.5:9085"] {
            assert!(is_own(Method::GET, host, None), "{host}");
            assert!(is_own(Method::POST, host, Some(&format!("http://{host}"))), "{host}");
            assert!(!is_own(Method::POST, host, None), "{host}");
            assert!(!is_own(Method::GET, host, Some("http://evil.example")), "{host}");
            assert!(!is_own(Method::POST, host, Some("null")), "{host}");
        }
        for host in ["evil.example", "evil.example:9085", "127.0.0.1.evil.example:9085", "1.2.3", ""] {
            assert!(!is_own(Method::GET, host, None), "{host}");
        }
    }
}
