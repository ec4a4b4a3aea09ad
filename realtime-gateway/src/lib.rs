//! The realtime gateway sends what the stream stores to the browsers of its church: at once, in order, without a hole.
//! It has no database and keeps nothing that it can't read again from the stream.
//!
//! [`run`] wires it. Each folder imports only folders above it in this list:
//!
//! - `stream` reads JetStream and names a position in it.
//! - `events` makes a stored message into the packets that browsers get.
//! - `memory` keeps the newest events and reads older ones.
//! - `tokens` knows how long a token is good.
//! - `connections` holds TCP connections, the sessions that they carry, and limits.
//! - `rooms` holds the churches and their sockets, and sends events to them.
//! - `feed` follows the stream.
//! - `session` leads a client through its life: connect, resume, refresh, end.
//! - `http` is the edge.

mod connections;
mod events;
mod feed;
mod gateway;
mod http;
mod memory;
mod metrics;
mod rooms;
mod session;
mod settings;
mod stream;
mod tokens;

use std::sync::Arc;
use std::time::Duration;

use common::broker::Broker;
use common::claims::TokenVerifier;
use common::cors;
use common::service::{Condition, Context, Weight, bind};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::info;

pub use crate::settings::{LimitOptions, PatienceOptions, Settings};

use crate::connections::{ConnectionLimits, Listener, Transports, TrustedProxies};
use crate::events::{Delivery, decode};
use crate::feed::{FeedGauges, FeedHealth, Source, follower, health, replay};
use crate::gateway::Gateway;
use crate::http::{operators, server};
use crate::memory::History;
use crate::metrics::Counters;
use crate::rooms::{CloseReason, Hub, SlowConsumer};
use crate::session::{catch_up, clock, stale};
use crate::stream::Reader;
use crate::tokens::Revocations;

/// The gateway's name in the broker's permissions.
const ROLE: &str = "gateway";
/// How long the sockets have to close when the gateway stops.
const CLOSE_GRACE: Duration = Duration::from_secs(5);

/// Runs the gateway until the context's shutdown.
///
/// # Errors
/// A setting is wrong, or the address can't be listened on. A vital task that fails ends the context, which keeps its
/// error.
pub async fn run(settings: Settings, context: Context) -> anyhow::Result<()> {
    let cors = cors::layer(&settings.cors)?;
    let (gateway, work) = assemble(&settings, &context).await?;
    let listener = bind("GATEWAY_LISTEN", settings.listen).await?;
    info!(address = %listener.local_addr()?, "listening");
    let (most, counters) = (gateway.limits.connections, &gateway.counters);
    counters.connections_limit.set(i64::try_from(most).unwrap_or(i64::MAX));
    let listener = Listener::new(listener, gateway.stall, most, counters.connections_open.clone());
    let (sessions, io) = session::service(&settings, gateway.clone());
    gateway.transports.set_service(sessions.clone());
    context.answer_operators(operators::router(gateway.hub.clone()));
    let router = server::router(gateway.clone(), sessions, cors);
    let tasks = TaskTracker::new();
    context.spawn_vital(&tasks, "serving", server::serve(listener, router, context.shutdown.clone()));

    // The sockets get events until the last of them is closed.
    let finished = CancellationToken::new();
    let vital = |name, part: BoxFuture<'static, ()>| {
        let part = finished.clone().run_until_cancelled_owned(part);
        context.spawn_vital(&tasks, name, async move { part.await.unwrap_or_default() });
    };
    let slow_consumers = catch_up::serve_slow_consumers(gateway.clone(), work.slow_consumers);
    vital("serving slow consumers", slow_consumers.boxed());
    vital("watching tokens", clock::watch_tokens(gateway.clone()).boxed());
    vital("removing stale subscriptions", stale::clear(gateway.clone(), io.clone()).boxed());
    let watch = health::watch(gateway.health.clone(), gateway.hub.clone(), work.feed);
    vital("watching the feed", watch.boxed());
    let replaying =
        replay::run(work.replays, gateway.hub.clone(), gateway.counters.clone(), finished.clone());
    context.spawn_vital(&tasks, "replaying", replaying);
    context.spawn_vital(&tasks, "following the stream", follower::follow(work.source, finished.clone()));
    context.shutdown.cancelled().await;
    // Without one of its parts it has nothing for its clients, so they go elsewhere at once.
    let over = if context.health.has_failed() { 0 } else { settings.limits.drain };
    drain(&gateway.hub, Duration::from_secs(over)).await;
    finished.cancel();
    tasks.close();
    // The end of the process closes what is still open after that.
    let _ = timeout(CLOSE_GRACE, io.close()).await;
    let _ = timeout(CLOSE_GRACE, tasks.wait()).await;
    Ok(())
}

/// Whether a message of the stream can be encoded for browsers; `None` if gateways tell browsers that they can't read it,
/// or if it is not meant for them.
pub fn encodes(subject: &str, payload: &[u8]) -> Option<bool> {
    let event = decode::parse(subject, payload).ok()??;
    Some(event.packets(payload, Delivery::Replayed).is_ok())
}

/// Closes every socket's transport, evenly over the given time, so that not all clients resume elsewhere at once.
async fn drain(hub: &Hub, over: Duration) {
    let subscribers = hub.subscribers();
    info!(sockets = subscribers.len(), ?over, "closing the sockets");
    let (begin, count) = (Instant::now(), subscribers.len().max(1) as u32);
    for (subscriber, n) in subscribers.iter().zip(0u32..) {
        sleep_until(begin + over * n / count).await;
        hub.close(subscriber, CloseReason::Stopping);
    }
}

/// What a gateway does besides serving clients.
struct Work {
    source: Source,
    /// Whether all events that are known to exist were published.
    feed: Condition,
    replays: Broker,
    slow_consumers: mpsc::UnboundedReceiver<SlowConsumer>,
}

/// Makes the gateway and its work, and begins neither.
async fn assemble(settings: &Settings, context: &Context) -> anyhow::Result<(Arc<Gateway>, Work)> {
    let verifier = TokenVerifier::new(&settings.jwt)?;
    let proxies = TrustedProxies::parse(&settings.limits.trusted_proxies)?;
    let limits = ConnectionLimits::new(&settings.limits);
    let counters = Counters::new(context);
    let condition = context.health.condition("stream", Weight::Required);
    let feed = context.health.condition("feed", Weight::Required);
    let gauges = FeedGauges::new(&context.metrics);
    let health = Arc::new(FeedHealth::new((&settings.patience).into(), gauges.clone()));
    let broker = Broker::connect(&settings.nats, ROLE, context, Weight::Degrading).await?;
    let replays = Broker::connect_aside(&settings.nats, ROLE).await?;
    let transports = Transports::default();
    let (hub, slow_consumers) = Hub::new((&settings.limits).into(), transports.clone(), counters.clone());
    let (hub, revocations) = (Arc::new(hub), Arc::new(Revocations::new()));
    let reader = Reader::new(broker.client().clone());
    let gateway = Arc::new(Gateway {
        verifier,
        revocations: revocations.clone(),
        limits,
        proxies,
        hub: hub.clone(),
        history: History::new(reader.clone(), counters.history_seconds.clone()),
        health: health.clone(),
        link: broker.link(),
        transports,
        traffic: (&settings.limits).into(),
        stall: Duration::from_secs(settings.limits.write_stall),
        connect_timeout: Duration::from_millis(settings.patience.connect_timeout),
        counters: counters.clone(),
        shutdown: context.shutdown.clone(),
    });
    let limits = (&settings.limits).into();
    let source = Source { broker, reader, hub, revocations, condition, health, limits, counters, gauges };
    Ok((gateway, Work { source, feed, replays, slow_consumers }))
}
