//! Ten minutes of clients that poll the history, beside the same ten minutes with connected clients and with nobody.
//! The waiting is left out: what is counted is requests, bytes and CPU, and those do not depend on it.

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

use crate::stage::{self, BROKER, GATEWAY, Stage};
use crate::{Complaints, Place, idle};

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
    /// Messages of each church that finish in the ten minutes: with as many as polls, each poll finds one
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

/// What is measured, in simulated seconds.
const MINUTES: u64 = 10;
/// From one ping to the next.
const PING_INTERVAL: u64 = 25;
/// A ping and its answer: one byte each, in frames with heads of two and six.
const PING_BYTES: (u64, u64) = (3, 7);
/// Connections whose pings are measured: one client's would be too little to see.
const PINGED: usize = 5_000;
const CONNECTIONS: usize = 16;
/// Changes before anything is measured.
const WARM_UP: usize = 200;
/// Changes a second in the shortened ten minutes.
const RATE: f64 = 200.0;
const PATIENCE: Duration = Duration::from_secs(20);
/// What a web page asks for.
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

/// One way to spend the ten minutes.
struct Way {
    clients: String,
    requests: u64,
    bytes_to: u64,
    bytes_from: u64,
    seen_after: String,
    used: Used,
    /// Of the gateway's CPU, milliseconds for pings that did not happen in the shortened time.
    pings: f64,
}

pub(crate) async fn run(options: &Options, place: &Place) -> anyhow::Result<Complaints> {
    let title = format!(
        "polling: {MINUTES} minutes of {} clients in {} churches, {} messages finish in them",
        options.all_clients(),
        options.churches,
        options.all_changes()
    );
    let (mut table, mut complaints) = (Table::new(title, &HEADS), Complaints::new());
    let (mut runs, mut ping) = (Vec::new(), None);
    for database in &place.databases {
        let stage = Stage::start(place, *database).await?;
        let messages = WARM_UP + 3 * options.all_changes();
        let plan = Plan { churches: options.churches, messages, recipients: 1 };
        let targets = stage.record(plan).await?;
        let (warm_up, targets) = targets.split_at(WARM_UP);
        nobody(&stage, warm_up).await?;
        // Messages go to the churches in turn, so these are as many of each church.
        let mut thirds = targets.chunks(options.all_changes());
        let mut changes = || thirds.next().unwrap_or_default();
        let nobody = nobody(&stage, changes()).await?;
        let polling = poll(options, &stage, changes(), &mut complaints).await?;
        let mut live = live(options, &stage, changes(), &mut complaints).await?;
        let micros = match ping {
            Some(micros) => micros,
            None => *ping.insert(measure_pings(place, &stage, &mut complaints).await?),
        };
        live.add_pings(options, micros);
        stage.stop().await;
        for way in [nobody, polling, live] {
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

/// Microseconds of the gateway's CPU for a ping. It does not depend on the database.
async fn measure_pings(place: &Place, stage: &Stage, complaints: &mut Complaints) -> anyhow::Result<f64> {
    let interval = Duration::from_secs(PING_INTERVAL);
    let waited = idle::wait(stage, place.affordable(PINGED, 1), interval, complaints).await?;
    Ok(waited.micros_per_ping())
}

/// Messages finish, and nobody looks: what the other rows have in common.
async fn nobody(stage: &Stage, changes: &[Target]) -> anyhow::Result<Way> {
    let requests: Arc<[Bytes]> = stage.requests(changes, Report::Delivered)?.into();
    let meter = stage.meter();
    post::at_rate(stage.ingest()?, &requests, RATE, &Arc::new(())).await?;
    stage.quiet().await?;
    let used = meter.stop();
    Ok(Way::new("nobody watches".into(), "never".into(), used))
}

/// Where each client reads the newest page, and its request.
fn page(options: &Options, stage: &Stage) -> anyhow::Result<(SocketAddr, Vec<Bytes>)> {
    let api = http::address_of(&stage.stack.file().api)?;
    let seats = stage.seats(options.churches, options.clients)?;
    Ok((api, seats.iter().map(|seat| http::get(api, PATH, &seat.token)).collect()))
}

/// Every client asks for the newest page, again and again.
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

/// Every client reads the newest page once and is connected while the messages finish.
async fn live(
    options: &Options,
    stage: &Stage,
    changes: &[Target],
    complaints: &mut Complaints,
) -> anyhow::Result<Way> {
    let watched = Watched::new(changes.iter().map(|target| (target.church, target.message)));
    let seats = stage.seats(options.churches, options.clients)?;
    let requests: Arc<[Bytes]> = stage.requests(changes, Report::Delivered)?.into();
    let (api, once) = page(options, stage)?;
    let once: Arc<[Bytes]> = once.into();
    // Connecting is part of what it costs.
    let meter = stage.meter();
    let read = post::all(api, &once, CONNECTIONS).await?;
    let fleet = Fleet::connect(seats, &watched, Conduct::Stay).await?;
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
    // A page and a handshake each.
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

    /// Adds the pings of the whole time.
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
