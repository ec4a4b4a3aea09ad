//! Connections that are cut again and again while messages finish: with its cursor every client gets everything.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tests::load::fleet::{Fleet, Heard, Tally, Watched};
use tests::load::post;
use tests::load::record::Plan;
use tests::load::report::{Latencies, Table};
use tests::load::usage::{GENERATOR, Used};
use tests::load::webhooks::Report;

use crate::stage::{self, GATEWAY, Stage};
use crate::{Complaints, Place};

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// How often each connection is cut
    #[arg(long, default_value_t = 15, value_name = "SECONDS")]
    every: u64,
    /// How long it goes on
    #[arg(long, default_value_t = 60, value_name = "SECONDS")]
    seconds: u32,
    /// Webhooks a second, each of which finishes a message
    #[arg(long, default_value_t = 50, value_name = "N")]
    rate: u32,
    /// Churches
    #[arg(long, default_value_t = 100, value_name = "N")]
    churches: usize,
    /// Clients in each church
    #[arg(long, default_value_t = 5, value_name = "N")]
    clients: usize,
}

/// What is late is waited for so long.
const PATIENCE: Duration = Duration::from_secs(20);
const HEADS: [&str; 10] = [
    "clients",
    "times cut",
    "deliveries expected",
    "delivered",
    "repeated",
    "told to read history",
    "p50 ms",
    "p99 ms",
    "gateway cores",
    "generator cores",
];

pub(crate) async fn run(options: &Options, place: &Place) -> anyhow::Result<Complaints> {
    let stage = Stage::start(place, place.any_database()).await?;
    let (all, tally, used) = measure(options, &stage).await?;
    stage.stop().await;
    let mut complaints = Complaints::new();
    stage::check("storm", &all, tally, &mut complaints);
    let title = format!(
        "storm: each connection cut every {} s for {} s, {} webhooks a second",
        options.every, options.seconds, options.rate
    );
    let mut table = Table::new(title, &HEADS);
    let latencies: Latencies = all.iter().flat_map(|heard| &heard.latencies).collect();
    table.row([
        all.len().to_string(),
        sum(&all, |heard| heard.reconnects),
        tally.expected.to_string(),
        stage::share(tally.got, tally.expected),
        stage::share(tally.repeated, tally.expected),
        sum(&all, |heard| heard.lost_continuity),
        latencies.at(0.5),
        latencies.at(0.99),
        format!("{:.2}", used.cores(GATEWAY)),
        format!("{:.2}", used.cores(GENERATOR)),
    ]);
    table.print(&[&used]);
    Ok(complaints)
}

fn sum(all: &[Heard], of: impl Fn(&Heard) -> u64) -> String {
    all.iter().map(of).sum::<u64>().to_string()
}

async fn measure(options: &Options, stage: &Stage) -> anyhow::Result<(Vec<Heard>, Tally, Used)> {
    let count = (options.rate * options.seconds) as usize;
    let targets = stage.record(Plan { churches: options.churches, messages: count, recipients: 1 }).await?;
    let requests: Arc<[Bytes]> = stage.requests(&targets, Report::Delivered)?.into();
    let watched = Watched::new(targets.iter().map(|target| target.message));
    let seats = stage.seats(options.churches, options.clients)?;
    let fleet = Fleet::connect(seats, &watched, Some(Duration::from_secs(options.every))).await?;
    let meter = stage.meter();
    post::at_rate(stage.ingest()?, &requests, f64::from(options.rate), watched.starter()).await?;
    watched.wait((count * options.clients) as u64, PATIENCE).await;
    let used = meter.stop();
    let all = fleet.leave().await;
    let tally = Tally::of(&all, &targets.iter().map(|target| target.church).collect::<Vec<_>>());
    Ok((all, tally, used))
}
