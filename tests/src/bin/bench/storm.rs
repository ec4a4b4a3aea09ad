//! Connections that are cut repeatedly while messages finish. Every client gets everything with its cursor.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tests::load::fleet::{Conduct, Fleet, Heard, Tally, Watched};
use tests::load::post;
use tests::load::record::{Plan, Target};
use tests::load::report::{Latencies, Table};
use tests::load::usage::{GENERATOR, Used};
use tests::load::webhooks::Report;

use crate::environment::{Complaints, Environment};
use crate::stage::{self, BROKER, GATEWAY, Stage};

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Seconds between two cuts of a connection
    #[arg(long, default_value_t = 15, value_name = "SECONDS")]
    every: u64,
    /// Duration in seconds
    #[arg(long, default_value_t = 60, value_name = "SECONDS")]
    seconds: u32,
    /// Seconds that the same clients stay connected before, for comparison
    #[arg(long, default_value_t = 15, value_name = "SECONDS")]
    calm: u32,
    /// Webhooks a second, each of which finishes a message
    #[arg(long, default_value_t = 100, value_name = "N")]
    rate: u32,
    /// Churches in which messages finish
    #[arg(long, default_value_t = 500, value_name = "N")]
    lively: usize,
    /// Churches in which nothing happens
    #[arg(long, default_value_t = 500, value_name = "N")]
    quiet: usize,
    /// Clients in each church
    #[arg(long, default_value_t = 10, value_name = "N")]
    clients: usize,
}

/// Longest wait for late events.
const PATIENCE: Duration = Duration::from_secs(20);
const HEADS: [&str; 15] = [
    "connections",
    "",
    "times cut",
    "attempts refused",
    "deliveries expected",
    "delivered",
    "repeated",
    "told to read history",
    "POST to event p50 ms",
    "p99 ms",
    "gateway cores",
    "MB",
    "broker cores",
    "webhook-ingest cores",
    "generator cores",
];
const RETURN_HEADS: [&str; 8] = [
    "who came back",
    "times",
    "changes missed",
    "p50 ms",
    "p99 ms",
    "max ms",
    "of it until let in, p99 ms",
    "max ms",
];

/// What the clients received in one part of the storm.
struct Part {
    all: Vec<Heard>,
    tally: Tally,
    used: Used,
    memory: u64,
}

pub(crate) async fn run(options: &Options, environment: &Environment) -> anyhow::Result<Complaints> {
    let stage = Stage::start(environment, environment.any_database()).await?;
    let count = environment.affordable((options.lively + options.quiet) * options.clients, 1);
    let messages = (options.rate * (options.calm + options.seconds)) as usize;
    let plan = Plan { churches: options.lively, messages, recipients: 1 };
    let targets = stage.record(plan).await?;
    let (calm, cut) = targets.split_at((options.rate * options.calm) as usize);
    let calm = part(options, &stage, (calm, count), Conduct::Stay).await?;
    let every = Conduct::Cut(Duration::from_secs(options.every));
    let cut = part(options, &stage, (cut, count), every).await?;
    stage.stop().await;

    let title = format!(
        "storm: each connection cut every {} s for {} s, {} webhooks a second in {} churches, nothing in {} others",
        options.every, options.seconds, options.rate, options.lively, options.quiet
    );
    let mut table = Table::new(title, &HEADS);
    let mut complaints = Complaints::new();
    for (how, part) in [("stay", &calm), ("are cut", &cut)] {
        let what = format!("storm, connections {how}");
        stage::check(&what, &part.all, part.tally, &mut complaints);
        stage::check_continuity(&what, &part.all, &mut complaints);
        table.row(row(how, part));
    }
    // By the end each client was cut at least twice and had the time in between to come back.
    let away = cut.all.iter().filter(|heard| heard.returns.is_empty()).count();
    if away > 0 && u64::from(options.seconds) >= 2 * options.every {
        complaints.push(format!("storm: {away} clients did not come back"));
    }
    table.print(&[&calm.used, &cut.used]);
    returns(options, &cut.all).print(&[]);
    Ok(complaints)
}

async fn part(
    options: &Options,
    stage: &Stage,
    (targets, count): (&[Target], usize),
    conduct: Conduct,
) -> anyhow::Result<Part> {
    let requests: Arc<[Bytes]> = stage.requests(targets, Report::Delivered)?.into();
    let watched = Watched::new(targets.iter().map(|target| (target.church, target.message)));
    let mut logins = stage.logins(options.lively + options.quiet, options.clients)?;
    logins.truncate(count);
    let listeners = logins.iter().map(|login| watched.of_church(login.church).len() as u64).sum();
    let fleet = Fleet::connect(logins, &watched, conduct).await?;
    let meter = stage.meter();
    post::at_rate(stage.ingest()?, &requests, f64::from(options.rate), &watched).await?;
    watched.wait(listeners, PATIENCE).await;
    let (used, memory) = (meter.stop(), stage.gateway_memory());
    let all = fleet.leave().await;
    let tally = Tally::of(&all, &watched);
    Ok(Part { all, tally, used, memory })
}

fn row(how: &str, part: &Part) -> Vec<String> {
    let Part { all, tally, used, memory } = part;
    let cores = |name: &str| format!("{:.2}", used.cores(name));
    let latencies: Latencies = all.iter().flat_map(|heard| &heard.latencies).collect();
    vec![
        all.len().to_string(),
        how.into(),
        stage::sum(all, |heard| heard.ends).to_string(),
        stage::sum(all, |heard| heard.refused).to_string(),
        tally.expected.to_string(),
        stage::share(tally.got, tally.expected),
        stage::share(tally.repeated, tally.expected),
        stage::sum(all, |heard| heard.lost_continuity).to_string(),
        latencies.at(0.5),
        latencies.at(0.99),
        cores(GATEWAY),
        stage::megabytes(*memory),
        cores(BROKER),
        cores("webhook-ingest"),
        cores(GENERATOR),
    ]
}

/// Time to catch up, by how much there was to catch up with.
fn returns(options: &Options, all: &[Heard]) -> Table {
    let title = "storm: time to catch up, from the beginning of the connect until nothing is missing";
    let mut table = Table::new(title, &RETURN_HEADS);
    let is_quiet = |heard: &Heard| heard.church >= options.lively;
    for (who, quiet, missed_some) in [
        ("in a church where nothing happens", true, false),
        ("in another, nothing missed", false, false),
        ("in another, something missed", false, true),
    ] {
        let these = all.iter().filter(|heard| is_quiet(heard) == quiet).flat_map(|heard| &heard.returns);
        let these: Vec<_> = these.filter(|back| (back.missed > 0) == missed_some).collect();
        let (mut took, mut let_in) = (Latencies::default(), Latencies::default());
        for back in &these {
            took.record(back.took());
            let_in.record(back.connected - back.begun);
        }
        table.row([
            who.into(),
            these.len().to_string(),
            these.iter().map(|back| back.missed).sum::<usize>().to_string(),
            took.at(0.5),
            took.at(0.99),
            took.max(),
            let_in.at(0.99),
            let_in.max(),
        ]);
    }
    table
}
