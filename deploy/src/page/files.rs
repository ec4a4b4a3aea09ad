//! The files of the page: its own, the client package's source, and what npm has fetched.

use std::path::Path;

use aws_lc_rs::digest::{SHA256, digest};
use axum::http::header::{CONTENT_TYPE, HeaderName};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// How the package's modules find theirs.
const IMPORTS: &str = r#"{"imports":{"church-live":"/live/index.js","preact":"/htm-preact.js","socket.io-client":"/fetched/socket.io.js"}}"#;
const PAGE: &str = include_str!("files/page.html");
const API: &str = include_str!("files/api.html");
const STYLE: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

/// Path, type and content of each file that is compiled in.
macro_rules! compiled_in {
    ($($path:literal $kind:expr, $file:literal;)*) => {
        [$(($path, $kind, include_str!($file))),*]
    };
}

const FILES: [(&str, &str, &str); 17] = compiled_in! {
    "/page.css" STYLE, "files/page.css";
    "/page.js" SCRIPT, "files/page.js";
    "/api.js" SCRIPT, "files/api.js";
    "/htm-preact.js" SCRIPT, "files/htm-preact.js";
    "/live/index.js" SCRIPT, "../../../realtime-gateway/client/src/index.js";
    "/live/claims.js" SCRIPT, "../../../realtime-gateway/client/src/claims.js";
    "/live/connection.js" SCRIPT, "../../../realtime-gateway/client/src/connection.js";
    "/live/emitter.js" SCRIPT, "../../../realtime-gateway/client/src/emitter.js";
    "/live/errors.js" SCRIPT, "../../../realtime-gateway/client/src/errors.js";
    "/live/list.js" SCRIPT, "../../../realtime-gateway/client/src/list.js";
    "/live/live.js" SCRIPT, "../../../realtime-gateway/client/src/live.js";
    "/live/place.js" SCRIPT, "../../../realtime-gateway/client/src/place.js";
    "/live/rest.js" SCRIPT, "../../../realtime-gateway/client/src/rest.js";
    "/live/rows.js" SCRIPT, "../../../realtime-gateway/client/src/rows.js";
    "/live/sending.js" SCRIPT, "../../../realtime-gateway/client/src/sending.js";
    "/live/state.js" SCRIPT, "../../../realtime-gateway/client/src/state.js";
    "/live/tokens.js" SCRIPT, "../../../realtime-gateway/client/src/tokens.js";
};
/// Path, type and file in `deploy/client/node_modules`.
const FETCHED: [(&str, &str, &str); 3] = [
    ("/fetched/socket.io.js", SCRIPT, "socket.io-client/dist/socket.io.esm.min.js"),
    ("/fetched/swagger-ui.js", SCRIPT, "swagger-ui-dist/swagger-ui-bundle.js"),
    ("/fetched/swagger-ui.css", STYLE, "swagger-ui-dist/swagger-ui.css"),
];

/// The page itself. It may load nothing but its own files, and connect to these addresses.
pub(super) fn page(connects: &[String]) -> Response {
    let hash = STANDARD.encode(digest(&SHA256, IMPORTS.as_bytes()));
    let policy = format!(
        "default-src 'none'; script-src 'self' 'sha256-{hash}'; style-src 'self'; img-src data:; connect-src 'self' {}; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        connects.join(" ")
    );
    html(policy, PAGE.replace("IMPORTS", IMPORTS))
}

/// The page that shows the API's document. Swagger UI sets styles in line.
pub(super) fn api(connects: &[String]) -> Response {
    let policy = format!(
        "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
         connect-src 'self' {}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        connects.join(" ")
    );
    html(policy, API.into())
}

fn html(policy: String, text: String) -> Response {
    let headers = [
        (CONTENT_TYPE, "text/html; charset=utf-8".to_owned()),
        (HeaderName::from_static("content-security-policy"), policy),
        // The address has the secret.
        (HeaderName::from_static("referrer-policy"), "no-referrer".into()),
        (HeaderName::from_static("x-content-type-options"), "nosniff".into()),
    ];
    (headers, text).into_response()
}

/// A file by its path; `None` for an unknown one.
pub(super) async fn file(path: &str, fetched: &Path) -> Option<Response> {
    let headers =
        |kind| [(CONTENT_TYPE, kind), (HeaderName::from_static("x-content-type-options"), "nosniff")];
    if let Some((_, kind, text)) = FILES.iter().find(|(known, ..)| *known == path) {
        return Some((headers(*kind), *text).into_response());
    }
    let (_, kind, place) = FETCHED.iter().find(|(known, ..)| *known == path)?;
    let content = tokio::fs::read(fetched.join(place)).await.ok()?;
    Some((headers(kind), content).into_response())
}
