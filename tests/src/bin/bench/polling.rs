//! Ten minutes of clients that poll the history, compared with ten minutes of connected clients and of no clients. The
//! waiting is left out, because requests, bytes and CPU do not depend on it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use deploy::stack::Database;
use tests::load::fleet::{Conduct, Fleet, Heard, Tally, Watched};
use tests::load::http;
use tests::load::post::{self, Posted};
use tests::load::record::{Plan, Target};
use tests::load::report::{Latencies, Table, say};
use tests::load::usage::{GENERATOR, Used};
use tests::load::webhooks::Report;

use crate::environment::{Complaints, Environment};
use crate::idle;
use crate::stage::{self, BROKER, GATEWAY, Stage};

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Churches
    #[arg(long, default_value_t = 20, value_name = "N")]
    churches: usize,
    /// Clients in each church
    #[arg(long, default_value_t = 5, value_name = "N")]
    clients: usize,
    /// Time between two polls of a client
    #[arg(long, default_value_t = 5, value_name = "SECONDS",
        value_parser = clap::value_parser!(u64).range(1..))]
    every: u64,
    /// Messages of each church that finish in the ten minutes; by default as many as a client polls, so each poll finds
    /// one
    #[arg(long, default_value_t = 120, value_name = "N")]
    changes: usize,
}

impl Options {
    fn all_clients(&self) -> usize {
        self.churches * self.clients
    }

    fn all_changes(&self) -> usize {
        self.churches * self.changes
    }
}

/// Simulated duration in seconds.
const MINUTES: u64 = 10;
/// Seconds between two pings.
const PING_INTERVAL: u64 = 25;
/// Bytes of a ping and a pong: one byte each, in frames with headers of two and six bytes.
const PING_BYTES: (u64, u64) = (3, 7);
/// Connections whose pings are measured. One client's pings cost too little to measure.
const PINGED: usize = 5_000;
const CONNECTIONS: usize = 16;
/// Changes before the measurement.
const WARM_UP: usize = 200;
/// Changes per second in the shortened ten minutes.
const RATE: f64 = 200.0;
const PATIENCE: Duration = Duration::from_secs(20);
/// The request of a web page.
const PATH: &str = "/api/messages/history?page=1&limit=20";
const HEADS: [&str; 13] = [
    "database",
    "clients",
    "requests",
    "KB to clients",
    "KB from clients",
    "CPU ms: message-api",
    "webhook-ingest",
    "database",
    "broker",
    "gateway",
    "all",
    "a change is seen after",
    "generator cores",
];

/// One row of the comparison.
struct Way {
    clients: String,
    requests: u64,
    bytes_to: u64,
    bytes_from: u64,
    seen_after: String,
    used: Used,
    /// Milliseconds of the gateway's CPU for the pings that the shortened time leaves out.
    pings: f64,
}

pub(crate) async fn run(options: &Options, environment: &Environment) -> anyhow::Result<Complaints> {
    let title = format!(
        "polling: {MINUTES} minutes of {} clients in {} churches, {} messages finish in them",
        options.all_clients(),
        options.churches,
        options.all_changes()
    );
    let (mut table, mut complaints) = (Table::new(title, &HEADS), Complaints::new());
    let (mut runs, mut ping) = (Vec::new(), None);
    for database in &environment.databases {
        let stage = Stage::start(environment, *database).await?;
        let messages = WARM_UP + 3 * options.all_changes();
        let plan = Plan { churches: options.churches, messages, recipients: 1 };
        let targets = stage.record(plan).await?;
        let (warm_up, targets) = targets.split_at(WARM_UP);
        without_clients(&stage, warm_up).await?;
        // Messages go to the churches in turn, so each church has the same number.
        let mut thirds = targets.chunks(options.all_changes());
        let mut changes = || thirds.next().unwrap_or_default();
        let without_clients = without_clients(&stage, changes()).await?;
        let polling = poll(options, &stage, changes(), &mut complaints).await?;
        let mut live = live(options, &stage, changes(), &mut complaints).await?;
        let micros = match ping {
            Some(micros) => micros,
            None => *ping.insert(measure_pings(environment, &stage, &mut complaints).await?),
        };
        live.add_pings(options, micros);
        stage.stop().await;
        for way in [without_clients, polling, live] {
            table.row(way.row(*database));
            runs.push(way.used);
        }
    }
    table.print(&runs.iter().collect::<Vec<_>>());
    say(format_args!(
        "The waiting is left out; each ping of the {MINUTES} minutes is added to the gateway's CPU as {:.0} us, \
         measured with {PINGED} connections",
        ping.unwrap_or_default()
    ));
    Ok(complaints)
}

/// Microseconds of the gateway's CPU per ping. The database does not matter.
async fn measure_pings(
    environment: &Environment,
    stage: &Stage,
    complaints: &mut Complaints,
) -> anyhow::Result<f64> {
    let interval = Duration::from_secs(PING_INTERVAL);
    let waited = idle::wait(stage, environment.affordable(PINGED, 1), interval, complaints).await?;
    Ok(waited.micros_per_ping())
}

/// Messages finish without clients: the part that all rows share.
async fn without_clients(stage: &Stage, changes: &[Target]) -> anyhow::Result<Way> {
    let requests: Arc<[Bytes]> = stage.requests(changes, Report::Delivered)?.into();
    let meter = stage.meter();
    post::at_rate(stage.ingest()?, &requests, RATE, &Arc::new(())).await?;
    stage.quiet().await?;
    let used = meter.stop();
    Ok(Way::new("no clients".into(), "never".into(), used))
}

/// The address and the request with which each client reads the newest page.
fn page(options: &Options, stage: &Stage) -> anyhow::Result<(SocketAddr, Vec<Bytes>)> {
    let api = http::address_of(&stage.stack.file().api)?;
    let logins = stage.logins(options.churches, options.clients)?;
    Ok((api, logins.iter().map(|login| http::get(api, PATH, &login.token)).collect()))
}

/// Every client polls the newest page.
async fn poll(
    options: &Options,
    stage: &Stage,
    changes: &[Target],
    complaints: &mut Complaints,
) -> anyhow::Result<Way> {
    let (api, once) = page(options, stage)?;
    let polls = MINUTES * 60 / options.every;
    let requests: Arc<[Bytes]> = (0..polls).flat_map(|_| once.iter().cloned()).collect();
    let webhooks: Arc<[Bytes]> = stage.requests(changes, Report::Delivered)?.into();
    let unobserved = Arc::new(());
    let meter = stage.meter();
    let (posted, finished) = tokio::join!(
        post::all(api, &requests, CONNECTIONS),
        post::at_rate(stage.ingest()?, &webhooks, RATE, &unobserved),
    );
    let (posted, _): (Posted, Posted) = (posted?, finished?);
    stage.quiet().await?;
    let used = meter.stop();
    if !posted.refused.is_empty() {
        complaints.push(format!("polling: not all were answered 200: {:?}", posted.statuses));
    }
    let seen_after = format!("{:.1} s (half the interval)", options.every as f64 / 2.0);
    let mut way = Way::new(format!("{} poll every {} s", once.len(), options.every), seen_after, used);
    way.requests = requests.len() as u64;
    way.bytes_to = posted.bytes;
    way.bytes_from = bytes(&requests);
    Ok(way)
}

/// Every client reads the newest page once and stays connected while the messages finish.
async fn live(
    options: &Options,
    stage: &Stage,
    changes: &[Target],
    complaints: &mut Complaints,
) -> anyhow::Result<Way> {
    let watched = Watched::new(changes.iter().map(|target| (target.church, target.message)));
    let logins = stage.logins(options.churches, options.clients)?;
    let requests: Arc<[Bytes]> = stage.requests(changes, Report::Delivered)?.into();
    let (api, once) = page(options, stage)?;
    let once: Arc<[Bytes]> = once.into();
    // The cost includes connecting.
    let meter = stage.meter();
    let read = post::all(api, &once, CONNECTIONS).await?;
    let fleet = Fleet::connect(logins, &watched, Conduct::Stay).await?;
    post::at_rate(stage.ingest()?, &requests, RATE, &watched).await?;
    watched.wait((changes.len() * options.clients) as u64, PATIENCE).await;
    stage.quiet().await?;
    let used = meter.stop();
    let all = fleet.leave().await;
    let tally = Tally::of(&all, &watched);
    stage::check("polling, connected", &all, tally, complaints);
    let latencies: Latencies = all.iter().flat_map(|heard| &heard.latencies).collect();
    let seen_after = format!("{} ms (p50)", latencies.at(0.5));
    let mut way = Way::new(format!("{} connected", all.len()), seen_after, used);
    let sum = |of: fn(&Heard) -> u64| stage::sum(&all, of);
    // One page and one handshake per client.
    way.requests = 2 * all.len() as u64;
    way.bytes_to = read.bytes + sum(|heard| heard.traffic.received);
    way.bytes_from = bytes(&once) + sum(|heard| heard.traffic.sent);
    Ok(way)
}

fn bytes(requests: &[Bytes]) -> u64 {
    requests.iter().map(|request| request.len() as u64).sum()
}

impl Way {
    fn new(clients: String, seen_after: String, used: Used) -> Self {
        Self { clients, requests: 0, bytes_to: 0, bytes_from: 0, seen_after, used, pings: 0.0 }
    }

    /// Adds the pings of the full duration.
    fn add_pings(&mut self, options: &Options, micros: f64) {
        let pings = options.all_clients() as u64 * MINUTES * 60 / PING_INTERVAL;
        self.bytes_to += pings * PING_BYTES.0;
        self.bytes_from += pings * PING_BYTES.1;
        self.pings = pings as f64 * micros / 1e3;
    }

    fn row(&self, database: Database) -> Vec<String> {
        let millis = |name: &str| self.used.of(name).as_secs_f64() * 1e3;
        let database_cpu = match database {
            Database::Sqlite => "(within)".into(),
            Database::Postgres => format!("{:.0}", millis("postgres")),
        };
        let services = ["message-api", "webhook-ingest", "postgres", BROKER, GATEWAY];
        let all = services.into_iter().map(millis).sum::<f64>() + self.pings;
        let kilobytes = |bytes: u64| format!("{:.0}", bytes as f64 / 1024.0);
        vec![
            stage::name(database),
            self.clients.clone(),
            self.requests.to_string(),
            kilobytes(self.bytes_to),
            kilobytes(self.bytes_from),
            format!("{:.0}", millis("message-api")),
            format!("{:.0}", millis("webhook-ingest")),
            database_cpu,
            format!("{:.0}", millis(BROKER)),
            format!("{:.0}", millis(GATEWAY) + self.pings),
            format!("{all:.0}"),
            self.seen_after.clone(),
            format!("{:.2}", self.used.cores(GENERATOR)),
        ]
    }
}
