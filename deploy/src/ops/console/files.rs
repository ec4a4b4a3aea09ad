//! The files of the page. All of them are compiled in, and none holds data.

use axum::response::{IntoResponse, Response};

use crate::web::{self, SCRIPT, STYLE};

/// Only its own files; scripts and styles in line are refused.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The page.
pub(super) fn page() -> Response {
    web::html(POLICY, include_str!("files/console.html"))
}

/// A file by its path.
pub(super) fn file(path: &str) -> Response {
    let (kind, text) = match path {
        "/console.css" => (STYLE, include_str!("files/console.css")),
        "/app.js" => (SCRIPT, include_str!("files/app.js")),
        "/asking.js" => (SCRIPT, include_str!("files/asking.js")),
        "/parts.js" => (SCRIPT, include_str!("files/parts.js")),
        "/words.js" => (SCRIPT, include_str!("files/words.js")),
        "/changes.js" => (SCRIPT, include_str!("files/changes.js")),
        "/now.js" => (SCRIPT, include_str!("files/now.js")),
        "/messages.js" => (SCRIPT, include_str!("files/messages.js")),
        "/webhooks.js" => (SCRIPT, include_str!("files/webhooks.js")),
        "/churches.js" => (SCRIPT, include_str!("files/churches.js")),
        _ => return web::shared(path).unwrap_or_else(|| axum::http::StatusCode::NOT_FOUND.into_response()),
    };
    web::file(kind, text)
}
