//! The gateway's cost of delivering to one big room and to many small ones. Events are published to the stream
//! directly, so that only the broker and the gateway work.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use async_nats::HeaderMap;
use bytes::Bytes;
use tests::announcer::progress;
use tests::load::fleet::{Conduct, Fleet, Tally, Watched};
use tests::load::record::church_id;
use tests::load::report::{Latencies, Table, rate};
use tests::load::usage::{GENERATOR, Used};
use uuid::Uuid;

use crate::environment::{Complaints, Environment};
use crate::stage::{self, GATEWAY, Stage};

#[derive(Debug, clap::Args)]
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

/// The rooms and the events of a round.
struct Shape {
    rooms: usize,
    clients: usize,
    rounds: usize,
    /// Events per room and round, back to back.
    burst: usize,
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
    for (rooms, clients) in [(1, options.big), (options.small, 3)] {
        for burst in [1, 10] {
            let stage = Stage::start(environment, environment.any_database()).await?;
            let shape = Shape { rooms, clients, rounds: options.rounds, burst };
            let (row, used) = measure(&shape, &stage, &mut complaints).await?;
            stage.stop().await;
            table.row(row);
            runs.push(used);
        }
    }
    table.print(&runs.iter().collect::<Vec<_>>());
    Ok(complaints)
}

async fn measure(
    shape: &Shape,
    stage: &Stage,
    complaints: &mut Complaints,
) -> anyhow::Result<(Vec<String>, Used)> {
    let events = (0..shape.rounds * shape.rooms * shape.burst).map(|number| ready(shape, number));
    let events: Vec<Ready> = events.collect::<anyhow::Result<_>>()?;
    let watched = Watched::new(events.iter().map(|event| (event.church, event.message)));
    let fleet = Fleet::connect(stage.logins(shape.rooms, shape.clients)?, &watched, Conduct::Stay).await?;
    let broker = stage.stack.nats("ingest").await?;
    let (mut busy, mut last) = (Duration::ZERO, Latencies::default());
    let meter = stage.meter();
    let each = shape.rooms * shape.burst;
    for (round, events) in events.chunks(each).enumerate() {
        let begun = Instant::now();
        publish(&broker, &watched, round * each, events).await?;
        watched.wait(((round + 1) * each * shape.clients) as u64, PATIENCE).await;
        let took = watched.last_heard().saturating_duration_since(begun);
        busy += took;
        last.record(took);
    }
    let used = meter.stop();
    let all = fleet.leave().await;
    let tally = Tally::of(&all, &watched);
    stage::check(&format!("rooms {} x {}", shape.rooms, shape.clients), &all, tally, complaints);
    let latencies: Latencies = all.iter().flat_map(|heard| &heard.latencies).collect();
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

async fn publish(
    broker: &async_nats::Client,
    watched: &Arc<Watched>,
    first: usize,
    events: &[Ready],
) -> anyhow::Result<()> {
    for (number, event) in events.iter().enumerate() {
        watched.begins(first + number, Instant::now());
        let (subject, headers) = (event.subject.clone(), event.headers.clone());
        broker.publish_with_headers(subject, headers, event.payload.clone()).await?;
    }
    broker.flush().await.context("the broker does not answer")
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
