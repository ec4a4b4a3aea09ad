//! The routes of a church's messages: send one, list them, show one and its recipients, cancel one, retry one.

mod body;
mod cancel;
mod cursor;
mod draft;
mod fields;
mod history;
mod inbound;
mod limits;
mod parameters;
mod recipients;
mod response;
mod retry;
mod schemas;
mod send;
mod show;

use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouterExt as _};
use utoipa_axum::routes;

use crate::app::App;

/// The routes, each with its part of the API's document.
pub(crate) fn routes() -> OpenApiRouter<App> {
    // Axum would answer 405 to an unknown method even where the path has no message id.
    let unknown_method = parameters::unknown_method;
    OpenApiRouter::new()
        .routes(routes!(send::send))
        .routes(routes!(history::history))
        .routes(routes!(inbound::inbound))
        .routes(routes!(show::show, cancel::cancel).map(|router| router.fallback(unknown_method)))
        .routes(routes!(retry::retry).map(|router| router.fallback(unknown_method)))
        .routes(routes!(recipients::recipients).map(|router| router.fallback(unknown_method)))
}
