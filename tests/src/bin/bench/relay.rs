//! The relay alone: a backlog, as after an outage of the broker, goes into the stream. No client is connected, so the
//! gateway's CPU is what it costs to take in an event that nobody there waits for.

use std::time::{Duration, Instant};

use deploy::services::INGEST;
use tests::load::filling::Amount;
use tests::load::report::{Table, rate};
use tokio::time::timeout;

use crate::environment::{Complaints, Environment};
use crate::posting;
use crate::stage::{self, BROKER, GATEWAY, Stage};

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Messages whose two events wait, `message:sent` and the end
    #[arg(long, default_value_t = 25_000, value_name = "N")]
    messages: usize,
    /// Churches
    #[arg(long, default_value_t = 1_000, value_name = "N")]
    churches: usize,
}

/// Longest wait for the gateway after the relay.
const LIMIT: Duration = Duration::from_secs(60);
/// How often to look whether anything was announced.
const TICK: Duration = Duration::from_millis(10);
const HEADS: [&str; 7] = [
    "database",
    "events",
    "a second",
    "ingest CPU us an event",
    "database CPU us",
    "broker CPU us",
    "gateway CPU us, without clients",
];

pub(crate) async fn run(options: &Options, environment: &Environment) -> anyhow::Result<Complaints> {
    let (mut table, mut runs) = (Table::new("relay: a backlog", &HEADS), Vec::new());
    let mut complaints = Complaints::new();
    let messages = options.messages;
    let amount = Amount { churches: options.churches, messages, large: messages / 10, waiting: messages };
    for database in &environment.databases {
        let mut stage = Box::pin(Stage::start(environment, *database)).await?;
        let before = stage.taken_in().await?;
        stage.fill_alone(amount).await?;
        stage.stack.start_process(INGEST)?;
        let first = stage.store.waiting_events(1).await?;
        while stage.store.waiting_events(1).await? == first {
            tokio::time::sleep(TICK).await;
        }
        let (meter, begun) = (stage.meter(), Instant::now());
        stage.quiet().await?;
        let took = begun.elapsed();
        let events = amount.events();
        if timeout(LIMIT, until_taken_in(&stage, before + events)).await.is_err() {
            let taken_in = stage.taken_in().await? - before;
            complaints.push(format!("relay: the gateway took in {taken_in} of {events} events"));
        }
        let used = meter.stop();
        let micros = |process| format!("{:.0}", used.micros_per(process, events));
        table.row([
            stage::name(*database),
            events.to_string(),
            rate(events, took),
            micros(INGEST),
            posting::database_cpu(*database, &used, events),
            micros(BROKER),
            micros(GATEWAY),
        ]);
        runs.push(used);
        stage.stop().await;
    }
    table.print(&runs.iter().collect::<Vec<_>>());
    Ok(complaints)
}

/// Waits until the gateway has taken in this many events.
async fn until_taken_in(stage: &Stage, events: u64) -> anyhow::Result<()> {
    while stage.taken_in().await? < events {
        tokio::time::sleep(TICK).await;
    }
    Ok(())
}
