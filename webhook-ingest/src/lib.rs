//! Receives Telnyx's signed delivery webhooks, records them and announces the changes.
//!
//! Start with [`receive`]. A request with signature headers reserves a slot in the queue. Its body is read, verified
//! ([`signature`]), parsed ([`parse`]) and committed together with others ([`commit`]). Only then it is answered 200.
//! Two background tasks run beside it: the [`sweep`] of parked webhooks, and the relay from the outbox to the stream.

use std::sync::Arc;
use std::time::Duration;

use common::broker::Broker;
use common::service::{self, Context, Weight};
use common::store::{Readiness, Store};
use common::{relay, retention};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

pub mod commit;
pub mod error;
pub mod inbound;
pub mod metrics;
pub mod parse;
pub mod receive;
pub mod settings;
pub mod signature;
pub mod sweep;

pub use settings::Settings;

use crate::metrics::IngestMetrics;
use crate::receive::Receiver;
use crate::signature::PublicKeys;

/// The service's user at the broker.
const BROKER_ROLE: &str = "ingest";
/// How long a stopping service waits for its background tasks.
const STOP_LIMIT: Duration = Duration::from_secs(5);

/// Runs the service until `context.shutdown` is cancelled, then finishes the requests under way.
///
/// # Errors
/// A setting is wrong, or the address is taken. A vital task that fails ends the context, which keeps its error.
pub async fn run(settings: Settings, context: Context) -> anyhow::Result<()> {
    // First: without a key the service can accept nothing.
    PublicKeys::parse(&settings.telnyx_public_key)?;
    settings.default_number.read()?;
    let listener = service::bind("INGEST_LISTEN", settings.ingest_listen).await?;
    serve(listener, settings, context).await
}

/// [`run`] on a listener that is bound already.
///
/// # Errors
/// As [`run`].
pub async fn serve(listener: TcpListener, settings: Settings, context: Context) -> anyhow::Result<()> {
    let keys = PublicKeys::parse(&settings.telnyx_public_key)?;
    let default_number = settings.default_number.read()?;
    let (store, webhooks) = Store::with_webhooks(&settings.store)?;
    let store = store.showing_errors(&context.metrics);
    let readiness = Readiness {
        reads: context.health.condition("database", Weight::Required),
        // A webhook is accepted only once it is written.
        writes: context.health.condition("database_writes", Weight::Required),
        schema: context.health.condition("schema", Weight::Degrading),
    };
    let broker = Broker::connect(&settings.nats, BROKER_ROLE, &context, Weight::Degrading).await?;
    let metrics = IngestMetrics::new(&context.metrics);

    let tasks = TaskTracker::new();
    let shutdown = &context.shutdown;
    context.spawn_vital(&tasks, "readiness", store.clone().keep_ready(readiness, shutdown.clone()));
    context.spawn_vital(&tasks, "sweep", sweep::run(store.clone(), metrics.clone(), shutdown.clone()));
    relay::start(store.clone(), broker.clone(), &context, &tasks);
    retention::start(&settings.retention, store.clone(), &context, &tasks);

    let (queue, committer) = commit::queue(settings.queue, webhooks, metrics.clone());
    let closing = CancellationToken::new();
    let committing = context.spawn_vital(&tasks, "committer", committer.run(closing.clone()));

    info!(address = %listener.local_addr()?, "taking webhooks");
    let router = receive::router(Arc::new(Receiver::new(keys, default_number, queue, metrics)));
    service::serve_http(listener, router, shutdown.clone()).await;
    closing.cancel();
    // Every accepted webhook is answered, however long its commit takes.
    committing.await?;
    tasks.close();
    if tokio::time::timeout(STOP_LIMIT, tasks.wait()).await.is_err() {
        warn!("stopping before the relay has finished; waiting events stay in the outbox");
    }
    broker.flush().await;
    Ok(())
}
