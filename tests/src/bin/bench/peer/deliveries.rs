//! Deliveries to rooms, from an event that is there to the last client that has it.

use tests::load::http::Connection;
use tests::load::report::{Table, rate};
use tests::load::usage::GENERATOR;

use super::Options;
use super::node::Node;
use crate::environment::Complaints;
use crate::rooms::{Delivered, Shape, Source, deliver};
use crate::server::Server;
use crate::stage::{BROKER, Stage};

/// Where the peer takes events without a webhook.
const EMIT: &str = "/emit";
/// Connections to a database that does nothing here.
const POOL: u32 = 1;
const HEADS: [&str; 11] = [
    "rooms",
    "clients each",
    "events back to back",
    "server",
    "deliveries",
    "got",
    "a second",
    "last receipt p50 ms",
    "server CPU us a delivery",
    "broker CPU us a delivery",
    "generator cores",
];

pub(super) async fn run(options: &Options, stage: &Stage, complaints: &mut Complaints) -> anyhow::Result<()> {
    let (mut table, mut runs) = (Table::new("peer: deliveries", &HEADS), Vec::new());
    for shape in options.rooms.shapes() {
        let logins = stage.logins(shape.rooms, shape.clients)?;
        // A new process for each row: a heap that has grown collects less often.
        let node = Node::start(stage, POOL).await?;
        let peer = node.server(logins.clone());
        let mut source = Source::Http(Connection::open(node.address).await?, EMIT);
        let delivered = warm(&shape, &peer, &mut source, complaints).await?;
        node.stop().await;
        table.row(row(&shape, peer.name, &delivered));
        runs.push(delivered.used);
        let gateway = Server::gateways(stage, logins);
        let mut source = Source::Broker(stage.stack.nats("ingest").await?);
        let delivered = warm(&shape, &gateway, &mut source, complaints).await?;
        table.row(row(&shape, gateway.name, &delivered));
        runs.push(delivered.used);
    }
    table.print(&runs.iter().collect::<Vec<_>>());
    Ok(())
}

/// Delivers some rounds before those that count: Node compiles what it runs often.
async fn warm(
    shape: &Shape,
    server: &Server,
    source: &mut Source,
    complaints: &mut Complaints,
) -> anyhow::Result<Delivered> {
    let first = Shape { rounds: shape.rounds.div_ceil(2), ..*shape };
    Box::pin(deliver(&first, server, source, complaints)).await?;
    Box::pin(deliver(shape, server, source, complaints)).await
}

fn row(shape: &Shape, server: &str, delivered: &Delivered) -> Vec<String> {
    let Delivered { tally, busy, last, used, .. } = delivered;
    vec![
        shape.rooms.to_string(),
        shape.clients.to_string(),
        shape.burst.to_string(),
        server.into(),
        tally.expected.to_string(),
        tally.got.to_string(),
        rate(tally.got, *busy),
        last.at(0.5),
        format!("{:.1}", used.micros_per(server, tally.got)),
        format!("{:.1}", used.micros_per(BROKER, tally.got)),
        format!("{:.2}", used.cores(GENERATOR)),
    ]
}
