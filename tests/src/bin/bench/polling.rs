//! What a minute of polling the history costs, beside the same minute with connected clients. The time between two
//! polls is left out: what is counted is requests, bytes and CPU, and those do not depend on it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use deploy::installation::Database;
use tests::load::fleet::{Fleet, Tally, Watched};
use tests::load::http;
use tests::load::post;
use tests::load::record::{Plan, Target};
use tests::load::report::{Latencies, Table};
use tests::load::usage::{GENERATOR, Used};
use tests::load::webhooks::Report;

use crate::stage::{self, Stage};
use crate::{Complaints, Place};

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Churches
    #[arg(long, default_value_t = 20, value_name = "N")]
    churches: usize,
    /// Clients in each church
    #[arg(long, default_value_t = 5, value_name = "N")]
    clients: usize,
    /// Messages in each church's history
    #[arg(long, default_value_t = 50, value_name = "N")]
    history: usize,
}

/// Polls of each client in a minute, one every five seconds.
const POLLS: usize = 12;
/// In that minute so many messages of each church finish.
const CHANGES: usize = 12;
const CONNECTIONS: usize = 16;
/// Changes a second in the shortened minute.
const RATE: f64 = 50.0;
const PATIENCE: Duration = Duration::from_secs(20);
/// What a web page asks for.
const PATH: &str = "/api/messages/history?page=1&limit=20";
const HEADS: [&str; 8] = [
    "database",
    "clients",
    "requests",
    "KB to clients",
    "service CPU ms",
    "database CPU ms",
    "seen after",
    "generator cores",
];

pub(crate) async fn run(options: &Options, place: &Place) -> anyhow::Result<Complaints> {
    let title = format!(
        "polling: one minute of {} clients in {} churches, {CHANGES} messages of each church finish in it",
        options.churches * options.clients,
        options.churches
    );
    let (mut table, mut runs, mut complaints) = (Table::new(title, &HEADS), Vec::new(), Complaints::new());
    for database in &place.databases {
        let stage = Stage::start(place, *database).await?;
        let messages = options.churches * options.history.max(CHANGES);
        let plan = Plan { churches: options.churches, messages, recipients: 1 };
        let targets = stage.record(plan).await?;
        // Messages go to the churches in turn, so these are as many of each church.
        let changes = &targets[..options.churches * CHANGES];
        for (mut row, used) in [
            poll(options, &stage, *database, &mut complaints).await?,
            live(options, &stage, changes, &mut complaints).await?,
        ] {
            row.insert(0, stage::name(*database));
            row.push(format!("{:.2}", used.cores(GENERATOR)));
            table.row(row);
            runs.push(used);
        }
        stage.stop().await;
    }
    table.print(&runs.iter().collect::<Vec<_>>());
    Ok(complaints)
}

/// Every client asks for the newest page, again and again.
async fn poll(
    options: &Options,
    stage: &Stage,
    database: Database,
    complaints: &mut Complaints,
) -> anyhow::Result<(Vec<String>, Used)> {
    let address = http::address_of(&stage.stack.file().api)?;
    let seats = stage.seats(options.churches, options.clients)?;
    let once: Vec<Bytes> = seats.iter().map(|seat| http::get(address, PATH, &seat.token)).collect();
    let requests: Arc<[Bytes]> = std::iter::repeat_n(once, POLLS).flatten().collect();
    let meter = stage.meter();
    let posted = post::all(address, &requests, CONNECTIONS).await?;
    let used = meter.stop();
    if !posted.refused.is_empty() {
        complaints.push(format!("polling: not all were answered 200: {:?}", posted.statuses));
    }
    let database_cpu = match database {
        Database::Sqlite => "(within)".into(),
        Database::Postgres => millis(&used, &["postgres"]),
    };
    let row = vec![
        format!("{} polling", seats.len()),
        requests.len().to_string(),
        kilobytes(posted.bytes),
        format!("{} (message-api)", millis(&used, &["message-api"])),
        database_cpu,
        "2.5 s (half the interval)".into(),
    ];
    Ok((row, used))
}

/// Every client is connected while the messages finish.
async fn live(
    options: &Options,
    stage: &Stage,
    changes: &[Target],
    complaints: &mut Complaints,
) -> anyhow::Result<(Vec<String>, Used)> {
    let watched = Watched::new(changes.iter().map(|target| target.message));
    let seats = stage.seats(options.churches, options.clients)?;
    let requests: Arc<[Bytes]> = stage.requests(changes, Report::Delivered)?.into();
    // Connecting is part of what it costs.
    let meter = stage.meter();
    let fleet = Fleet::connect(seats, &watched, None).await?;
    post::at_rate(stage.ingest()?, &requests, RATE, watched.starter()).await?;
    watched.wait((changes.len() * options.clients) as u64, PATIENCE).await;
    let used = meter.stop();
    let all = fleet.leave().await;
    let tally = Tally::of(&all, &changes.iter().map(|target| target.church).collect::<Vec<_>>());
    stage::check("polling, connected", &all, tally, complaints);
    let latencies: Latencies = all.iter().flat_map(|heard| &heard.latencies).collect();
    let row = vec![
        format!("{} connected", all.len()),
        "0".into(),
        kilobytes(all.iter().map(|heard| heard.bytes).sum()),
        format!("{} (gateway and broker)", millis(&used, &["realtime-gateway", "nats-server"])),
        "0".into(),
        format!("{} ms (p50)", latencies.at(0.5)),
    ];
    Ok((row, used))
}

fn millis(used: &Used, names: &[&str]) -> String {
    format!("{:.0}", names.iter().map(|name| used.of(name).as_secs_f64() * 1e3).sum::<f64>())
}

fn kilobytes(bytes: u64) -> String {
    format!("{:.0}", bytes as f64 / 1024.0)
}
