//! Latency from a webhook's POST to the event in a browser, under a steady load.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tests::load::fleet::{Conduct, Fleet, Heard, Tally, Watched};
use tests::load::post::{self, Posted};
use tests::load::record::Plan;
use tests::load::report::{Latencies, Table};
use tests::load::usage::{GENERATOR, Used};
use tests::load::webhooks::Report;

use crate::environment::{Complaints, Environment};
use crate::stage::{self, Stage};

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Webhooks a second, each of which finishes a message
    #[arg(long, default_value_t = 200, value_name = "N")]
    rate: u32,
    /// Seconds of webhooks
    #[arg(long, default_value_t = 15, value_name = "SECONDS")]
    seconds: u32,
    /// Churches
    #[arg(long, default_value_t = 100, value_name = "N")]
    churches: usize,
    /// Clients in each church
    #[arg(long, default_value_t = 5, value_name = "N")]
    clients: usize,
}

/// Webhooks before the clock starts.
const WARM_UP: usize = 200;
/// Longest wait for late events.
const PATIENCE: Duration = Duration::from_secs(20);
const LATENCY_HEADS: [&str; 8] =
    ["database", "deliveries expected", "got", "repeated", "p50 ms", "p99 ms", "max ms", "answer p99 ms"];
const CPU_HEADS: [&str; 8] = [
    "database",
    "webhook-ingest",
    "postgres",
    "nats-server",
    "realtime-gateway",
    "message-api",
    "generator",
    "gateway CPU us a delivery",
];

pub(crate) async fn run(options: &Options, environment: &Environment) -> anyhow::Result<Complaints> {
    let shape = format!(
        "{} webhooks a second for {} s, {} clients in {} churches",
        options.rate,
        options.seconds,
        options.churches * options.clients,
        options.churches
    );
    let mut latency = Table::new(format!("live: from POST to event; {shape}"), &LATENCY_HEADS);
    let mut cpu = Table::new("live: cores that each process kept busy", &CPU_HEADS);
    let (mut runs, mut complaints) = (Vec::new(), Complaints::new());
    for database in &environment.databases {
        let stage = Stage::start(environment, *database).await?;
        let (posted, all, tally, used) = measure(options, &stage).await?;
        stage.stop().await;
        let name = stage::name(*database);
        let what = format!("live on {name}");
        stage::check(&what, &all, tally, &mut complaints);
        if !posted.refused.is_empty() {
            complaints.push(format!("{what}: not all webhooks were answered 200: {:?}", posted.statuses));
        }
        latency.row(latency_row(name.clone(), &posted, &all, tally));
        cpu.row(cpu_row(name, tally, &used));
        runs.push(used);
    }
    latency.print(&[]);
    cpu.print(&runs.iter().collect::<Vec<_>>());
    Ok(complaints)
}

async fn measure(options: &Options, stage: &Stage) -> anyhow::Result<(Posted, Vec<Heard>, Tally, Used)> {
    let count = (options.rate * options.seconds) as usize;
    let plan = Plan { churches: options.churches, messages: WARM_UP + count, recipients: 1 };
    let targets = stage.record(plan).await?;
    let (first, rest) = targets.split_at(WARM_UP);
    let watched = Watched::new(rest.iter().map(|target| (target.church, target.message)));
    let logins = stage.logins(options.churches, options.clients)?;
    let fleet = Fleet::connect(logins, &watched, Conduct::Stay).await?;
    let address = stage.ingest()?;
    let warm_up: Arc<[Bytes]> = stage.requests(first, Report::Delivered)?.into();
    post::at_rate(address, &warm_up, f64::from(options.rate), &Arc::new(())).await?;
    stage.quiet().await?;

    let requests: Arc<[Bytes]> = stage.requests(rest, Report::Delivered)?.into();
    let meter = stage.meter();
    let posted = post::at_rate(address, &requests, f64::from(options.rate), &watched).await?;
    watched.wait((count * options.clients) as u64, PATIENCE).await;
    let used = meter.stop();
    let all = fleet.leave().await;
    let tally = Tally::of(&all, &watched);
    Ok((posted, all, tally, used))
}

fn latency_row(database: String, posted: &Posted, all: &[Heard], tally: Tally) -> Vec<String> {
    let latencies: Latencies = all.iter().flat_map(|heard| &heard.latencies).collect();
    vec![
        database,
        tally.expected.to_string(),
        tally.got.to_string(),
        tally.repeated.to_string(),
        latencies.at(0.5),
        latencies.at(0.99),
        latencies.max(),
        posted.latencies.at(0.99),
    ]
}

fn cpu_row(database: String, tally: Tally, used: &Used) -> Vec<String> {
    let cores = |name: &str| format!("{:.2}", used.cores(name));
    let processes =
        ["webhook-ingest", "postgres", "nats-server", "realtime-gateway", "message-api", GENERATOR];
    let mut row = vec![database];
    row.extend(processes.map(cores));
    row.push(format!("{:.0}", used.micros_per("realtime-gateway", tally.got)));
    row
}
