//! Serves the console.

use std::process::ExitCode;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::Response;
use axum::routing::{get, post};
use common::service::{bind, next_signal, serve_http};
use common::version::VERSION;
use serde_json::json;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::action_log::ActionLog;
use super::answer::answer;
use super::options::Console;
use super::samples::Samples;
use super::session::Session;
use super::site::{PATIENCE, Parts, Site};
use super::work::Works;
use super::{apply, churches, files, guard, messages, now, preview, tail, webhooks};
use crate::ops::output::Output;

/// The variable of the address.
const LISTEN: &str = "OPS_CONSOLE_LISTEN";
/// Connections to PostgreSQL: the samples, and what a page asks for at once.
const CONNECTIONS: u32 = 4;

/// Serves until a signal. Then stops what still works, and waits until it has tidied up.
pub(crate) async fn run(options: Console, output: Output) -> anyhow::Result<ExitCode> {
    let listener = bind(LISTEN, options.listen).await?;
    let address = listener.local_addr()?;
    if options.allow_changes {
        options.operator.author()?;
    }
    let actions =
        options.allow_changes.then(|| ActionLog::open(options.action_log.as_deref())).transpose()?;
    let site = Site::new(Parts {
        store: options.database.store(CONNECTIONS)?.within(PATIENCE),
        default_number: options.default_number()?,
        session: Session::fresh(address.port())?,
        samples: Samples::default(),
        works: Works::default(),
        ending: CancellationToken::new(),
        actions,
        options,
    });
    if !address.ip().is_loopback() {
        output.progress(
            "warning: everything crosses the network unencrypted; better listen on loopback, and use ssh -L",
        );
    }
    output.say(format!("open this address in one browser: http://{address}/#{}", site.session.token()))?;
    let sampling = AbortOnDropHandle::new(tokio::spawn(now::sample(site.clone())));
    let serving = tokio::spawn(serve_http(listener, router(site.clone()), site.ending.clone()));
    next_signal().await?;
    site.ending.cancel();
    drop(sampling);
    site.works.end().await;
    serving.await?;
    Ok(ExitCode::SUCCESS)
}

fn router(site: Site) -> Router {
    let data = Router::new()
        .route("/about", get(about))
        .route("/now", get(now::now))
        .route("/messages", get(messages::of_church))
        .route("/messages/stuck", get(messages::stuck))
        .route("/messages/failed", get(messages::failed))
        .route("/messages/search", get(messages::search))
        .route("/messages/{id}", get(messages::life))
        .route("/webhooks", get(webhooks::list))
        .route("/webhooks/search", get(webhooks::search))
        .route("/webhooks/{id}", get(webhooks::one))
        .route("/churches", get(churches::list))
        .route("/churches/{church}/tail", get(tail::tail))
        .route("/churches/{church}/{part}", get(churches::part))
        .route("/preview", post(preview::preview))
        .route("/changes", post(apply::change))
        .route("/audit", post(apply::audit))
        .route("/work", get(apply::works))
        .route("/work/{id}/stop", post(apply::stop))
        .route("/actions", get(apply::actions))
        .layer(from_fn_with_state(site.clone(), guard::in_session));
    Router::new()
        .route("/", get(async || files::page()))
        .route("/session", post(guard::enter))
        .nest("/api", data)
        .fallback(async |uri: Uri| files::file(uri.path()))
        .layer(from_fn(guard::own_pages))
        .with_state(site)
}

/// Who uses the console, and whether it may change something.
async fn about(State(site): State<Site>, headers: HeaderMap) -> Response {
    let told = json!({
        "operator": site.options.operator.author().ok(),
        "allowChanges": site.actions.is_some(),
        "version": VERSION,
    });
    answer(&headers, "", Ok(told))
}
