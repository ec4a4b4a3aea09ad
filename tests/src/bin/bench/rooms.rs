//! The gateway's cost of delivering to one big room and to many small ones. Events are published to the stream
//! directly, so that only the broker and the gateway work.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use async_nats::HeaderMap;
use bytes::Bytes;
use tests::announcer::progress;
use tests::load::fleet::{Conduct, Fleet, Tally, Watched};
use tests::load::http::{self, Connection};
use tests::load::record::church_id;
use tests::load::report::{Latencies, Table, rate};
use tests::load::usage::{GENERATOR, Used};
use uuid::Uuid;

use crate::environment::{Complaints, Environment};
use crate::server::Server;
use crate::stage::{self, GATEWAY, Stage};

#[derive(Debug, clap::Args)]
// `bench peer` contains these options in its own, whose group has the same name.
#[group(skip)]
pub(crate) struct Options {
    /// Clients in the big room
    #[arg(long, default_value_t = 1_000, value_name = "N")]
    big: usize,
    /// Small rooms of three clients each
    #[arg(long, default_value_t = 500, value_name = "N")]
    small: usize,
    /// Rounds of each kind; a round begins when all clients have the last event of the previous one
    #[arg(long, default_value_t = 20, value_name = "N")]
    rounds: usize,
}

impl Options {
    /// The big room and the small ones, each with one event at a time and with ten.
    pub(crate) fn shapes(&self) -> impl Iterator<Item = Shape> {
        let rooms = [(1, self.big), (self.small, 3)].into_iter();
        let rounds = self.rounds;
        rooms.flat_map(move |(rooms, clients)| [1, 10].map(|burst| Shape { rooms, clients, rounds, burst }))
    }
}

/// The rooms and the events of a round.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) rooms: usize,
    pub(crate) clients: usize,
    pub(crate) rounds: usize,
    /// Events per room and round, back to back.
    pub(crate) burst: usize,
}

/// Where a server gets its events from.
pub(crate) enum Source {
    /// The stream.
    Broker(async_nats::Client),
    /// A POST of a round's events to this path.
    Http(Connection, &'static str),
}

/// All rounds of a shape.
pub(crate) struct Delivered {
    pub(crate) tally: Tally,
    /// From the first publish to the last receipt, over all rounds.
    pub(crate) busy: Duration,
    /// The same of each round.
    pub(crate) last: Latencies,
    pub(crate) latencies: Latencies,
    pub(crate) used: Used,
}

/// An encoded event.
struct Ready {
    church: usize,
    message: Uuid,
    subject: String,
    headers: HeaderMap,
    payload: Bytes,
}

/// Longest wait for late events.
const PATIENCE: Duration = Duration::from_secs(20);
const HEADS: [&str; 10] = [
    "rooms",
    "clients each",
    "events back to back",
    "deliveries",
    "got",
    "a second",
    "last receipt p50 ms",
    "p99 of all ms",
    "gateway CPU us a delivery",
    "generator cores",
];

pub(crate) async fn run(options: &Options, environment: &Environment) -> anyhow::Result<Complaints> {
    let mut table = Table::new("rooms: deliveries of events from the stream", &HEADS);
    let (mut runs, mut complaints) = (Vec::new(), Complaints::new());
    for shape in options.shapes() {
        let stage = Stage::start(environment, environment.any_database()).await?;
        let (row, used) = measure(&shape, &stage, &mut complaints).await?;
        stage.stop().await;
        table.row(row);
        runs.push(used);
    }
    table.print(&runs.iter().collect::<Vec<_>>());
    Ok(complaints)
}

async fn measure(
    shape: &Shape,
    stage: &Stage,
    complaints: &mut Complaints,
) -> anyhow::Result<(Vec<String>, Used)> {
    let mut source = Source::Broker(stage.stack.nats("ingest").await?);
    let gateway = Server::gateways(stage, stage.logins(shape.rooms, shape.clients)?);
    let delivered = deliver(shape, &gateway, &mut source, complaints).await?;
    let Delivered { tally, busy, last, latencies, used } = delivered;
    let row = vec![
        shape.rooms.to_string(),
        shape.clients.to_string(),
        shape.burst.to_string(),
        tally.expected.to_string(),
        tally.got.to_string(),
        rate(tally.got, busy),
        last.at(0.5),
        latencies.at(0.99),
        format!("{:.1}", used.micros_per(GATEWAY, tally.got)),
        format!("{:.2}", used.cores(GENERATOR)),
    ];
    Ok((row, used))
}

/// Connects the clients and sends them all rounds.
pub(crate) async fn deliver(
    shape: &Shape,
    server: &Server,
    source: &mut Source,
    complaints: &mut Complaints,
) -> anyhow::Result<Delivered> {
    let events = (0..shape.rounds * shape.rooms * shape.burst).map(|number| ready(shape, number));
    let events: Vec<Ready> = events.collect::<anyhow::Result<_>>()?;
    let watched = Watched::new(events.iter().map(|event| (event.church, event.message)));
    let fleet = Fleet::connect(server.logins.clone(), &watched, Conduct::Stay).await?;
    let (mut busy, mut last) = (Duration::ZERO, Latencies::default());
    let meter = server.meter();
    let each = shape.rooms * shape.burst;
    for (round, events) in events.chunks(each).enumerate() {
        let begun = Instant::now();
        source.publish(&watched, round * each, events).await?;
        watched.wait(((round + 1) * each * shape.clients) as u64, PATIENCE).await;
        let took = watched.last_heard().saturating_duration_since(begun);
        busy += took;
        last.record(took);
    }
    let used = meter.stop();
    let all = fleet.leave().await;
    let tally = Tally::of(&all, &watched);
    let what = format!("{} rooms {} x {}", server.name, shape.rooms, shape.clients);
    stage::check(&what, &all, tally, complaints);
    let latencies: Latencies = all.iter().flat_map(|heard| &heard.latencies).collect();
    Ok(Delivered { tally, busy, last, latencies, used })
}

impl Source {
    async fn publish(
        &mut self,
        watched: &Arc<Watched>,
        first: usize,
        events: &[Ready],
    ) -> anyhow::Result<()> {
        match self {
            Self::Broker(broker) => {
                for (number, event) in events.iter().enumerate() {
                    watched.begins(first + number, Instant::now());
                    let (subject, headers) = (event.subject.clone(), event.headers.clone());
                    broker.publish_with_headers(subject, headers, event.payload.clone()).await?;
                }
                broker.flush().await.context("the broker does not answer")
            }
            Self::Http(connection, path) => {
                (0..events.len()).for_each(|number| watched.begins(first + number, Instant::now()));
                let events: Vec<&[u8]> = events.iter().map(|event| event.payload.as_ref()).collect();
                let body = [b"[", events.join(&b","[..]).as_slice(), b"]"].concat();
                let answer = connection.exchange(&http::post(path, &body)).await?;
                ensure!(answer.status == 200, "the events are answered {}", answer.status);
                Ok(())
            }
        }
    }
}

fn ready(shape: &Shape, number: usize) -> anyhow::Result<Ready> {
    // In a round each room gets `burst` events in a row.
    let church = number / shape.burst % shape.rooms;
    let event = progress(church_id(church).parse().context("a church's id")?);
    let mut headers = HeaderMap::new();
    headers.insert("Nats-Msg-Id", event.id.to_string());
    let payload = serde_json::to_vec(&event)?.into();
    Ok(Ready { church, message: event.message_id, subject: event.subject(), headers, payload })
}
