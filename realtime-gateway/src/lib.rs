//! The realtime gateway: what the stream stores goes out to the browsers of its church, live, in order, and without
//! a hole. It has no database and keeps nothing that it can't read again from the stream.
//!
//! [`run`] wires it. `stream`, `events`, `memory`, `tokens` and `connections` know nothing of the rest; `rooms` sends
//! events to sockets, `feed` makes them come, `session` leads a client through its life, `http` is the edge.

mod connections;
mod drain;
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

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use common::broker::Broker;
use common::claims::TokenVerifier;
use common::cors;
use common::service::{Condition, Context, Weight, bind};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use socketioxide::handler::ConnectHandler as _;
use socketioxide::{ParserConfig, SocketIo};
use tokio::sync::mpsc;
use tokio::task::JoinError;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::info;

pub use crate::settings::{LimitOptions, PatienceOptions, Settings};

use crate::connections::credit::CreditLimit;
use crate::connections::limits::{Admission, SeatLimits};
use crate::connections::listener::GuardedListener;
use crate::connections::traffic::TrafficLimits;
use crate::connections::transports::Transports;
use crate::feed::follower::Source;
use crate::feed::health::{Patience, Standing};
use crate::gateway::Gateway;
use crate::memory::history::History;
use crate::memory::recent::Limits;
use crate::metrics::Counters;
use crate::rooms::hub::{Hub, Laggard};
use crate::stream::reader::Reader;
use crate::tokens::revocations::Revocations;

/// The gateway's name in the broker's permissions.
const ROLE: &str = "gateway";
/// What the library is told that an answer to a poll may hold, in bytes. It keeps back what goes beyond and loses it when
/// a websocket takes over, so nothing ever must: the credit bounds what there is. Clients read it as a 32-bit number.
const POLL_BYTES: u64 = i32::MAX as u64;
/// How long the sockets have to close when the gateway stops.
const CLOSE_GRACE: Duration = Duration::from_secs(5);

/// Runs the gateway until the context's shutdown.
///
/// # Errors
/// Wrong settings, or an address that can't be listened on.
pub async fn run(settings: Settings, context: Context) -> anyhow::Result<()> {
    let cors = cors::layer(&settings.cors)?;
    let (gateway, work) = assemble(&settings, &context).await?;
    let listener = bind("GATEWAY_LISTEN", settings.listen).await?;
    info!(address = %listener.local_addr()?, "listening");
    let listener = GuardedListener::new(listener, gateway.stall, gateway.admission.connections);
    let (sessions, io) = sessions(&settings, gateway.clone());
    gateway.transports.serve(sessions.clone());
    let router = http::server::router(gateway.clone(), sessions, cors);
    let mut serving = tokio::spawn(http::server::serve(listener, router, context.shutdown.clone()));

    // The sockets get events until the last of them is closed.
    let finished = CancellationToken::new();
    let tasks = TaskTracker::new();
    let vital = |name, part: BoxFuture<'static, ()>| {
        let part = finished.clone().run_until_cancelled_owned(part);
        context.spawn_vital(&tasks, name, async move { part.await.unwrap_or_default() });
    };
    vital("catching up", session::resume::resume_laggards(gateway.clone(), work.laggards).boxed());
    vital("the tokens' clock", session::clock::watch_tokens(gateway.clone()).boxed());
    vital("clearing left-over seats", session::stale::clear(gateway.clone(), io.clone()).boxed());
    let standing = feed::health::watch(gateway.standing.clone(), gateway.hub.clone(), work.feed);
    vital("telling of lapses", standing.boxed());
    let replaying =
        feed::replay::hear(work.replays, gateway.hub.clone(), gateway.counters.clone(), finished.clone());
    let mut replaying = tokio::spawn(replaying);
    let mut following = tokio::spawn(feed::follower::follow(work.source, finished.clone()));
    tokio::select! {
        biased;
        () = context.shutdown.cancelled() => {}
        ended = &mut following => return Err(ended_by_itself("following the stream", ended)),
        ended = &mut replaying => return Err(ended_by_itself("hearing replays", ended)),
        ended = &mut serving => return Err(ended_by_itself("serving", ended.map(Ok))),
    }
    drain::drain(&gateway.hub, Duration::from_secs(settings.limits.drain)).await;
    finished.cancel();
    // What does not close even now is left to the end of the process.
    let _ = tokio::time::timeout(CLOSE_GRACE, io.close()).await;
    let _ = tokio::time::timeout(CLOSE_GRACE, serving).await;
    following.await.context("following the stream ended badly")??;
    replaying.await.context("hearing replays ended badly")??;
    Ok(())
}

/// What a part came to that should go on until the shutdown.
fn ended_by_itself(part: &str, ended: Result<anyhow::Result<()>, JoinError>) -> anyhow::Error {
    match ended {
        Ok(Ok(())) => anyhow::anyhow!("{part} ended by itself"),
        Ok(Err(error)) => error.context(format!("{part} failed")),
        Err(error) => anyhow::Error::new(error).context(format!("{part} ended badly")),
    }
}

/// What a gateway does by itself, besides serving clients.
struct Work {
    source: Source,
    /// Whether all that is known to exist was handed on.
    feed: Condition,
    replays: Broker,
    laggards: mpsc::UnboundedReceiver<Laggard>,
}

/// The gateway and its work, both not begun yet.
async fn assemble(settings: &Settings, context: &Context) -> anyhow::Result<(Arc<Gateway>, Work)> {
    let verifier = TokenVerifier::new(&settings.jwt)?;
    let admission = Admission::new(&settings.limits)?;
    let counters = Counters::new(context);
    let condition = context.health.condition("stream", Weight::Required);
    let feed = context.health.condition("feed", Weight::Required);
    let standing = Arc::new(Standing::new(patience(&settings.patience)));
    let broker = Broker::connect(&settings.nats, ROLE, context, Weight::Degrading).await?;
    let replays = Broker::connect_aside(&settings.nats, ROLE).await?;
    let transports = Transports::default();
    let (hub, laggards) = Hub::new(seats(&settings.limits), transports.clone(), counters.clone());
    let (hub, revocations) = (Arc::new(hub), Arc::new(Revocations::new()));
    let reader = Reader::new(broker.client().clone());
    let gateway = Arc::new(Gateway {
        verifier,
        revocations: revocations.clone(),
        admission,
        hub: hub.clone(),
        standing: standing.clone(),
        link: broker.link(),
        history: History::new(reader.clone()),
        transports,
        traffic: traffic(&settings.limits),
        stall: Duration::from_secs(settings.limits.write_stall),
        connect_timeout: Duration::from_millis(settings.patience.connect_timeout),
        counters: counters.clone(),
        shutdown: context.shutdown.clone(),
    });
    let limits = memory(&settings.limits);
    let source = Source { broker, reader, hub, revocations, condition, standing, limits, counters };
    Ok((gateway, Work { source, feed, replays, laggards }))
}

fn traffic(limits: &LimitOptions) -> TrafficLimits {
    let (packets, bytes) = (limits.socket_buffer as usize, limits.socket_bytes as usize);
    let message = NonZeroU32::new(limits.max_message).unwrap_or(NonZeroU32::MIN);
    TrafficLimits { credit: CreditLimit::of_queue(packets, bytes), message }
}

fn seats(limits: &LimitOptions) -> SeatLimits {
    SeatLimits {
        church: limits.max_church_sockets,
        user: limits.max_user_sockets,
        address: limits.max_address_sockets,
    }
}

fn patience(options: &PatienceOptions) -> Patience {
    Patience {
        silence: Duration::from_millis(options.stream_silence),
        gap: Duration::from_millis(options.stream_gap),
    }
}

fn memory(limits: &LimitOptions) -> Limits {
    Limits {
        events: limits.memory_events as usize,
        bytes: limits.memory_bytes,
        church_events: limits.memory_church_events as usize,
    }
}

/// The Socket.IO service, and its handle.
fn sessions(settings: &Settings, gateway: Arc<Gateway>) -> (Router, SocketIo) {
    let (limits, patience, connect_timeout) = (&settings.limits, &settings.patience, gateway.connect_timeout);
    // Nobody has a reason to send binary data; a little of it is ignored like any other event.
    let max_message = limits.max_message as usize;
    let parser = ParserConfig::common().max_incoming_binaries(8).max_incoming_binary_buf_size(max_message);
    let (service, io) = SocketIo::builder()
        .with_state(gateway)
        .with_parser(parser)
        .ping_interval(Duration::from_millis(patience.ping_interval))
        .ping_timeout(Duration::from_millis(patience.ping_timeout))
        .connect_timeout(connect_timeout)
        .upgrade_timeout(connect_timeout)
        .max_buffer_size(limits.socket_buffer as usize)
        .max_payload(POLL_BYTES)
        .ws_max_message_size(max_message)
        .ws_max_frame_size(max_message)
        .ws_read_buffer_size(512)
        .build_svc();
    io.ns("/", session::connect::attend.with(session::connect::authenticate));
    (Router::new().fallback_service(service), io)
}
