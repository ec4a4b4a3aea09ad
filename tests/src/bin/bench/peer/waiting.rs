//! Connections that wait.

use std::time::Duration;

use tests::load::report::Table;
use tests::load::usage::GENERATOR;

use super::Options;
use super::node::Node;
use crate::environment::{Complaints, Environment};
use crate::idle::{self, Waited};
use crate::server::Server;
use crate::stage::Stage;

/// Connections to a database that does nothing here.
const POOL: u32 = 1;
const HEADS: [&str; 9] = [
    "server",
    "connections held",
    "connects a second",
    "server CPU us a connect",
    "resident before MB",
    "after MB",
    "KB a connection",
    "server CPU us a second and connection",
    "generator cores, connecting",
];

pub(super) async fn run(
    options: &Options,
    environment: &Environment,
    stage: &Stage,
    complaints: &mut Complaints,
) -> anyhow::Result<()> {
    let connections = environment.affordable(options.idle, 1);
    let (logins, seconds) = (idle::logins(stage, connections)?, Duration::from_secs(options.seconds));
    let node = Node::start(stage, POOL).await?;
    let peer = Box::pin(idle::wait_at(node.server(logins.clone()), seconds, complaints)).await?;
    node.stop().await;
    let gateway = Box::pin(idle::wait_at(Server::gateways(stage, logins), seconds, complaints)).await?;
    let title = format!("peer: connections that wait for {} s", options.seconds);
    let mut table = Table::new(title, &HEADS);
    [&peer, &gateway].into_iter().for_each(|waited| table.row(row(waited)));
    table.print(&[&peer.connecting, &peer.idle, &gateway.connecting, &gateway.idle]);
    Ok(())
}

fn row(waited: &Waited) -> Vec<String> {
    let mut row = vec![waited.server.to_owned()];
    row.extend(waited.figures());
    row.push(format!("{:.2}", waited.connecting.cores(GENERATOR)));
    row
}
