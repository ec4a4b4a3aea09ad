//! The front end's REST API, and sending through Telnyx.
//!
//! Start with `router`, the table of routes. `messages` answers a send once the message is recorded. `dispatch` then
//! posts it to `telnyx`, once for each recipient, and records the answers. `reconcile` retrieves what no webhook told;
//! the webhooks themselves go to webhook-ingest. `forward` tells the product's own back end of texts that came in.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use common::broker::Broker;
use common::claims::TokenVerifier;
use common::service::{self, Context, Health, Weight};
use common::store::{Readiness, Store};
use common::{cors, relay, retention};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use crate::app::App;
use crate::directory::Directory;
use crate::dispatch::{Dispatcher, close_overdue};
use crate::forward::{BackEnd, Forwarder};
use crate::metrics::ApiMetrics;
use crate::reconcile::Reconciler;
use crate::roles::SendRoles;
use crate::telnyx::Telnyx;

mod app;
mod auth;
mod back_end;
mod characters;
mod directory;
mod dispatch;
mod document;
mod error;
mod forward;
mod idempotency;
mod messages;
mod metrics;
mod phone;
mod reconcile;
mod roles;
mod router;
mod segments;
mod settings;
mod telnyx;

pub use settings::{BackEndOptions, DefaultSender, SendOptions, Settings, TelnyxOptions};

/// How much sooner than the request a database call times out, so that the answer can name what it waited for.
const RESPONSE_MARGIN: Duration = Duration::from_millis(250);

/// Runs the service until shutdown.
///
/// # Errors
/// A setting is wrong, or the listener can't be bound.
pub async fn run(settings: Settings, context: Context) -> anyhow::Result<()> {
    let listener = service::bind("API_LISTEN", settings.api_listen).await?;
    serve(settings, listener, context).await
}

/// [`run`] on a listener that is bound already.
///
/// # Errors
/// A setting is wrong.
pub async fn serve(settings: Settings, listener: TcpListener, context: Context) -> anyhow::Result<()> {
    let metrics = ApiMetrics::new(&context.metrics);
    let store = Store::new(&settings.store)?.showing_errors(&context.metrics);
    settings.sending.check()?;
    settings.telnyx.check_key()?;
    let telnyx =
        Telnyx::new(&settings.telnyx, settings.sending.send_timeout, metrics.telnyx_answers.clone())?;
    let back_end = BackEnd::new(&settings.back_end)?;
    let app = App {
        store: store.within(settings.api_request_timeout.saturating_sub(RESPONSE_MARGIN)),
        verifier: TokenVerifier::new(&settings.jwt)?,
        default_sender: settings.telnyx.default_sender()?,
        default_country: settings.default_country,
        directory: Directory::new(
            &settings.back_end,
            settings.api_request_timeout / 2,
            settings.default_country,
            (&context.health, &metrics),
        )?,
        send_roles: SendRoles::new(&settings.send_roles),
        wake: Arc::new(Notify::new()),
        metrics: metrics.clone(),
        health: context.health.clone(),
        schema_ready: CancellationToken::new(),
        request_timeout: settings.api_request_timeout,
    };
    // Background work is not limited by the request timeout.
    let sending = App { store: store.clone(), ..app.clone() };
    let router = router::router(app.clone(), cors::layer(&settings.cors)?);
    let broker = Broker::connect(&settings.nats, "message_api", &context, Weight::Degrading).await?;

    let tasks = TaskTracker::new();
    let readiness = Readiness {
        reads: context.health.condition("database", Weight::Required),
        // Front ends can still read while writes fail.
        writes: context.health.condition("database_writes", Weight::Degrading),
        schema: context.health.condition("schema", Weight::Degrading),
    };
    context.spawn_vital(&tasks, "readiness", store.clone().keep_ready(readiness, context.shutdown.clone()));
    let watching = watch_schema(app.health.clone(), app.schema_ready.clone(), context.shutdown.clone());
    context.spawn_vital(&tasks, "schema", watching);
    relay::start(store.clone(), broker.clone(), &context, &tasks);
    retention::start(&settings.retention, store.clone(), &context, &tasks);
    if let Some(directory) = &app.directory {
        context.spawn_vital(&tasks, "recipients", directory.keep_ready(context.shutdown.clone()));
    }
    if let Some(back_end) = back_end {
        let condition = context.health.condition("inbound", Weight::Degrading);
        let forwarder = Forwarder::new(store.clone(), back_end, metrics, condition);
        context.spawn_vital(&tasks, "inbound texts", forward_when_ready(forwarder, &app, &context));
    }
    let sending = send_when_ready(settings.sending.clone(), telnyx, sending, context.clone(), tasks.clone());
    context.spawn_vital(&tasks, "sending", sending);

    info!(address = %listener.local_addr().context("the listener has no address")?, "listening");
    service::serve_http(listener, router, context.shutdown.clone()).await;
    tasks.close();
    let grace = settings.sending.send_timeout + Duration::from_secs(15);
    if tokio::time::timeout(grace, tasks.wait()).await.is_err() {
        warn!("stopping although background work is still under way");
    }
    broker.flush().await;
    Ok(())
}

/// Runs the dispatcher, the reconciler and the closing of overdue recipients once the schema is ready.
async fn send_when_ready(
    options: SendOptions,
    telnyx: Telnyx,
    app: App,
    context: Context,
    tasks: TaskTracker,
) {
    let shutdown = context.shutdown.clone();
    let limited = app.store.clone().with_limits(options.limits());
    let overdue = close_overdue(limited, options.clone(), app.metrics.closed.clone(), shutdown.clone());
    let dispatcher = Dispatcher::new(&app, telnyx.clone(), &options);
    let reconciler = Reconciler::new(&app, telnyx, &options);
    let receipts = reconcile::watch_receipts(
        app.store.clone(),
        options.receipts_within,
        app.health.condition("receipts", Weight::Degrading),
        shutdown.clone(),
    );
    if shutdown.run_until_cancelled(app.schema_ready.cancelled()).await.is_none() {
        return;
    }
    context.spawn_vital(&tasks, "dispatcher", dispatcher.run(context.clone(), tasks.clone()));
    context.spawn_vital(&tasks, "reconciler", reconciler.run(shutdown));
    context.spawn_vital(&tasks, "overdue recipients", overdue);
    context.spawn_vital(&tasks, "receipts", receipts);
    context.shutdown.cancelled().await;
}

/// Runs the forwarder once the schema is ready.
fn forward_when_ready(
    forwarder: Forwarder,
    app: &App,
    context: &Context,
) -> impl Future<Output = ()> + use<> {
    let (ready, shutdown) = (app.schema_ready.clone(), context.shutdown.clone());
    async move {
        if shutdown.run_until_cancelled(ready.cancelled()).await.is_some() {
            forwarder.run(shutdown).await;
        }
    }
}

/// Cancels `ready` once the service is ready for the first time: then the schema is up to date.
async fn watch_schema(health: Health, ready: CancellationToken, shutdown: CancellationToken) {
    while !health.report().0 {
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(Duration::from_millis(50)) => {}
        }
    }
    ready.cancel();
    shutdown.cancelled().await;
}
