//! Files that are served from the binary.

use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, HeaderName};
use axum::response::{IntoResponse, Response};

/// The type of a style sheet.
pub(crate) const STYLE: &str = "text/css; charset=utf-8";
/// The type of a script.
pub(crate) const SCRIPT: &str = "text/javascript; charset=utf-8";

/// A page with its Content-Security-Policy. Its address may have a secret, which no other site is told.
pub(crate) fn html(policy: &str, text: impl Into<Body>) -> Response {
    let headers = [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (HeaderName::from_static("content-security-policy"), policy),
        (HeaderName::from_static("referrer-policy"), "no-referrer"),
        (HeaderName::from_static("x-content-type-options"), "nosniff"),
    ];
    (headers, text.into()).into_response()
}

/// A file of a type.
pub(crate) fn file(kind: &'static str, content: impl Into<Body>) -> Response {
    let headers = [(CONTENT_TYPE, kind), (HeaderName::from_static("x-content-type-options"), "nosniff")];
    (headers, content.into()).into_response()
}

/// A file that every page has, by its path.
pub(crate) fn shared(path: &str) -> Option<Response> {
    match path {
        "/base.css" => Some(file(STYLE, include_str!("files/base.css"))),
        "/htm-preact.js" => Some(file(SCRIPT, include_str!("files/htm-preact.js"))),
        _ => None,
    }
}
