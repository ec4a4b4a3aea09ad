//! The files of the page: its own, the client package's source, and what npm has fetched.

use std::path::Path;

use aws_lc_rs::digest::{SHA256, digest};
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::web::{self, SCRIPT, STYLE};

/// How the package's modules find theirs.
const IMPORTS: &str = r#"{"imports":{"church-live":"/live/index.js","preact":"/htm-preact.js","socket.io-client":"/fetched/socket.io.js"}}"#;
const PAGE: &str = include_str!("files/page.html");
const API: &str = include_str!("files/api.html");

/// Path, type and content of each file that is compiled in.
macro_rules! compiled_in {
    ($($path:literal $kind:expr, $file:literal;)*) => {
        [$(($path, $kind, include_str!($file))),*]
    };
}

const FILES: [(&str, &str, &str); 18] = compiled_in! {
    "/page.css" STYLE, "files/page.css";
    "/page.js" SCRIPT, "files/page.js";
    "/api.js" SCRIPT, "files/api.js";
    "/live/index.js" SCRIPT, "../../../realtime-gateway/client/src/index.js";
    "/live/claims.js" SCRIPT, "../../../realtime-gateway/client/src/claims.js";
    "/live/connection.js" SCRIPT, "../../../realtime-gateway/client/src/connection.js";
    "/live/emitter.js" SCRIPT, "../../../realtime-gateway/client/src/emitter.js";
    "/live/errors.js" SCRIPT, "../../../realtime-gateway/client/src/errors.js";
    "/live/history.js" SCRIPT, "../../../realtime-gateway/client/src/history.js";
    "/live/list.js" SCRIPT, "../../../realtime-gateway/client/src/list.js";
    "/live/live.js" SCRIPT, "../../../realtime-gateway/client/src/live.js";
    "/live/place.js" SCRIPT, "../../../realtime-gateway/client/src/place.js";
    "/live/rest.js" SCRIPT, "../../../realtime-gateway/client/src/rest.js";
    "/live/rows.js" SCRIPT, "../../../realtime-gateway/client/src/rows.js";
    "/live/sending.js" SCRIPT, "../../../realtime-gateway/client/src/sending.js";
    "/live/state.js" SCRIPT, "../../../realtime-gateway/client/src/state.js";
    "/live/tokens.js" SCRIPT, "../../../realtime-gateway/client/src/tokens.js";
    "/live/unknown.js" SCRIPT, "../../../realtime-gateway/client/src/unknown.js";
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
    web::html(&policy, PAGE.replace("IMPORTS", IMPORTS))
}

/// The page that shows the API's document. Swagger UI sets styles in line.
pub(super) fn api(connects: &[String]) -> Response {
    let policy = format!(
        "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
         connect-src 'self' {}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        connects.join(" ")
    );
    web::html(&policy, API)
}

/// A file by its path; `None` for an unknown one.
pub(super) async fn file(path: &str, fetched: &Path) -> Option<Response> {
    if let Some(shared) = web::shared(path) {
        return Some(shared);
    }
    if let Some((_, kind, text)) = FILES.iter().find(|(known, ..)| *known == path) {
        return Some(web::file(kind, *text));
    }
    let (_, kind, place) = FETCHED.iter().find(|(known, ..)| *known == path)?;
    let content = tokio::fs::read(fetched.join(place)).await.ok()?;
    Some(web::file(kind, content))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::programs::tools;

    #[test]
    fn every_module_of_the_client_package_is_served_but_its_hooks() {
        let source = tools::project().join("realtime-gateway/client/src");
        let names =
            std::fs::read_dir(source).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut modules: Vec<_> = names
            .filter(|name| name.ends_with(".js") && name != "react.js")
            .map(|name| format!("/live/{name}"))
            .collect();
        let mut served: Vec<_> =
            FILES.map(|(path, ..)| path).into_iter().filter(|path| path.starts_with("/live/")).collect();
        modules.sort();
        served.sort_unstable();
        assert_eq!(served, modules);
    }
}
