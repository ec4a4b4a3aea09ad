//! Webhooks a second and whose CPU they cost.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use deploy::services::INGEST;
use deploy::stack::Database;
use tests::load::post::Posted;
use tests::load::record::{Plan, Target};
use tests::load::report::{Table, rate};
use tests::load::usage::{GENERATOR, Used};

use super::Options;
use super::node::{Node, PEER};
use super::record;
use crate::environment::{Complaints, Environment};
use crate::posting::{self, database_cpu};
use crate::stage::{self, BROKER, GATEWAY, Stage};

const RECIPIENTS: usize = 10;
const CHURCHES: usize = 100;
const HEADS: [&str; 12] = [
    "connections",
    "service",
    "database",
    "webhooks",
    "a second",
    "of the peer's",
    "p50 ms",
    "p99 ms",
    "service CPU us each",
    "database",
    "broker and gateway",
    "generator cores",
];

/// One row.
struct Run {
    connections: usize,
    service: &'static str,
    database: Database,
    posted: Posted,
    used: Used,
}

pub(super) async fn run(
    options: &Options,
    environment: &Environment,
    complaints: &mut Complaints,
) -> anyhow::Result<()> {
    let mut runs = beside(options, environment, complaints).await?;
    if environment.databases.contains(&Database::Sqlite) {
        runs.extend(alone(options, environment, complaints).await?);
    }
    let title = format!("peer: webhooks answered 200 after the commit, messages of {RECIPIENTS} recipients");
    let mut table = Table::new(title, &HEADS);
    for connections in &options.connections {
        let of_these: Vec<_> = runs.iter().filter(|run| run.connections == *connections).collect();
        let peer = of_these.iter().find(|run| run.service == PEER).map(|run| run.posted.wall);
        of_these.iter().for_each(|run| table.row(row(run, peer.unwrap_or_default())));
    }
    table.print(&runs.iter().map(|run| &run.used).collect::<Vec<_>>());
    Ok(())
}

/// The peer, then webhook-ingest on the same PostgreSQL, in turn.
async fn beside(
    options: &Options,
    environment: &Environment,
    complaints: &mut Complaints,
) -> anyhow::Result<Vec<Run>> {
    let stage = Box::pin(Stage::start(environment, Database::Postgres)).await?;
    let targets = stage.record(plan(options)).await?;
    let node = Node::start(&stage, options.pool).await?;
    record::fill(&node.database_url, &targets).await?;
    let mut runs = Vec::new();
    for (connections, targets) in shares(options, &targets) {
        // The same requests: each side has recipients of its own.
        let requests = stage.mixed(targets)?;
        let (posted, meter) = posting::measure(connections, node.address, &requests, &node.ids).await?;
        let used = meter.stop();
        runs.push(Run { connections, service: PEER, database: Database::Postgres, posted, used });
        runs.push(ingest(connections, Database::Postgres, &stage, &requests).await?);
    }
    let (recorded, pending) = record::state(&node.database_url).await?;
    if recorded != i64::try_from(targets.len() * 2)? || pending > 0 {
        complaints.push(format!("peer: {recorded} webhooks recorded, {pending} messages are unfinished"));
    }
    node.stop().await;
    finish("peer, webhook-ingest on PostgreSQL", stage, targets.len(), &runs, complaints).await?;
    Ok(runs)
}

/// webhook-ingest on SQLite.
async fn alone(
    options: &Options,
    environment: &Environment,
    complaints: &mut Complaints,
) -> anyhow::Result<Vec<Run>> {
    let stage = Box::pin(Stage::start(environment, Database::Sqlite)).await?;
    let targets = stage.record(plan(options)).await?;
    let mut runs = Vec::new();
    for (connections, targets) in shares(options, &targets) {
        runs.push(ingest(connections, Database::Sqlite, &stage, &stage.mixed(targets)?).await?);
    }
    finish("peer, webhook-ingest on SQLite", stage, targets.len(), &runs, complaints).await?;
    Ok(runs)
}

async fn finish(
    what: &str,
    stage: Stage,
    targets: usize,
    runs: &[Run],
    complaints: &mut Complaints,
) -> anyhow::Result<()> {
    complaints.extend(runs.iter().filter_map(|run| posting::refused(run.service, &run.posted)));
    posting::lost(what, &stage, targets * 2, complaints).await?;
    stage.stop().await;
    Ok(())
}

/// What to record for all rows.
fn plan(options: &Options) -> Plan {
    let one = posting::plan(options.count, RECIPIENTS, CHURCHES);
    Plan { messages: one.messages * options.connections.len(), ..one }
}

/// Each number of connections with its share of the targets.
fn shares<'t>(options: &Options, targets: &'t [Target]) -> impl Iterator<Item = (usize, &'t [Target])> {
    let each = targets.len() / options.connections.len().max(1);
    options.connections.clone().into_iter().zip(targets.chunks(each.max(1)))
}

/// Posts to webhook-ingest. The CPU contains the announcing of all events.
async fn ingest(
    connections: usize,
    database: Database,
    stage: &Stage,
    requests: &Arc<[Bytes]>,
) -> anyhow::Result<Run> {
    let processes = &stage.stack.file().processes;
    let (posted, meter) = posting::measure(connections, stage.ingest()?, requests, processes).await?;
    stage.quiet().await?;
    Ok(Run { connections, service: INGEST, database, posted, used: meter.stop() })
}

fn row(run: &Run, peer: Duration) -> Vec<String> {
    let Run { connections, service, database, posted, used } = run;
    let count = posted.latencies.count();
    let live = used.micros_per(BROKER, count) + used.micros_per(GATEWAY, count);
    vec![
        connections.to_string(),
        (*service).into(),
        stage::name(*database),
        count.to_string(),
        rate(count, posted.wall),
        format!("{:.1}x", peer.as_secs_f64() / posted.wall.as_secs_f64().max(1e-9)),
        posted.latencies.at(0.5),
        posted.latencies.at(0.99),
        format!("{:.0}", used.micros_per(service, count)),
        database_cpu(*database, used, count),
        if *service == PEER { "(within)".into() } else { format!("{live:.0}") },
        format!("{:.2}", used.cores(GENERATOR)),
    ]
}
