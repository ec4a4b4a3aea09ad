//! Measures the suite on this machine: `make bench`, or one of the measurements by name.
//!
//! Without a name all of them run, shortened to a few minutes altogether. The services are the real programs of a
//! stack of its own; the generator is this process. Ends with 1 if a webhook or an event is missing, or if an answer
//! came later than Telnyx waits.

use std::path::PathBuf;
use std::process::ExitCode;

use ::tests::load::machine;
use ::tests::load::report::{IS_RELEASE, say};
use anyhow::Context as _;
use clap::{Parser, Subcommand};
use deploy::installation::Database;

mod bare;
mod burst;
mod idle;
mod live;
mod polling;
mod rooms;
mod stage;
mod storm;
mod webhooks;

/// Measures the suite on this machine. Without a name: everything, shortened to a few minutes.
#[derive(Debug, Parser)]
#[command(name = "bench", version)]
struct Bench {
    /// Folder that the databases stand in while they are measured; its disk is what is measured
    #[arg(long, global = true, value_name = "DIR", default_value_os_t = default_state())]
    state: PathBuf,
    /// Only this database
    #[arg(long, global = true, value_enum)]
    database: Option<Database>,
    #[command(subcommand)]
    what: Option<Measurement>,
}

#[derive(Debug, Subcommand)]
enum Measurement {
    /// Durable webhooks a second, beside a handler that only verifies and commits the bodies
    Webhooks(webhooks::Options),
    /// Thousands of webhooks at once: each answered within two seconds, none lost
    Burst(burst::Options),
    /// From a webhook's POST to the event in a client, with 500 clients connected
    Live(live::Options),
    /// Memory of an idle connection, and connecting
    Idle(idle::Options),
    /// Deliveries a second to one big room, and to many small ones
    Rooms(rooms::Options),
    /// Connections that are cut again and again, and resume
    Storm(storm::Options),
    /// What clients that poll the history cost, beside clients that are connected
    Polling(polling::Options),
    /// The handler that `webhooks` compares with
    #[command(hide = true)]
    Bare(bare::Options),
}

/// In the order in which they run.
const ALL: [&str; 7] = ["webhooks", "burst", "live", "idle", "rooms", "storm", "polling"];

/// Where and on what to measure.
#[derive(Debug, Clone)]
struct Place {
    state: PathBuf,
    databases: Vec<Database>,
}

impl Place {
    /// The database of a measurement in which it hardly matters.
    fn any_database(&self) -> Database {
        self.databases.first().copied().unwrap_or_default()
    }
}

/// What a measurement found wrong, in words; empty if nothing.
type Complaints = Vec<String>;

fn default_state() -> PathBuf {
    deploy::tools::project().join("target/bench-state")
}

fn main() -> ExitCode {
    match run(Bench::parse()) {
        Ok(complaints) if complaints.is_empty() => ExitCode::SUCCESS,
        Ok(complaints) => {
            say("\nFAILED:");
            complaints.iter().for_each(|complaint| say(format_args!("- {complaint}")));
            ExitCode::FAILURE
        }
        Err(error) => {
            say(format_args!("\nFAILED: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(bench: Bench) -> anyhow::Result<Complaints> {
    machine::raise_open_files();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(measure(bench))
}

async fn measure(bench: Bench) -> anyhow::Result<Complaints> {
    let all = [Database::Sqlite, Database::Postgres];
    let databases = bench.database.map_or(all.to_vec(), |only| vec![only]);
    let place = Place { state: bench.state, databases };
    if let Some(Measurement::Bare(options)) = bench.what {
        return bare::run(options).await.map(|()| Complaints::new());
    }
    std::fs::create_dir_all(&place.state).with_context(|| format!("can't make {}", place.state.display()))?;
    warn_of_debug();
    say(machine::describe(&place.state)?);
    machine::warning().iter().for_each(say);
    let mut complaints = Complaints::new();
    match bench.what {
        Some(what) => complaints.extend(one(what, &place).await?),
        None => {
            for name in ALL {
                complaints.extend(one(by_name(name)?, &place).await.with_context(|| name)?);
            }
        }
    }
    warn_of_debug();
    Ok(complaints)
}

async fn one(what: Measurement, place: &Place) -> anyhow::Result<Complaints> {
    match what {
        Measurement::Webhooks(options) => webhooks::run(&options, place).await,
        Measurement::Burst(options) => burst::run(&options, place).await,
        Measurement::Live(options) => live::run(&options, place).await,
        Measurement::Idle(options) => idle::run(&options, place).await,
        Measurement::Rooms(options) => rooms::run(&options, place).await,
        Measurement::Storm(options) => storm::run(&options, place).await,
        Measurement::Polling(options) => polling::run(&options, place).await,
        Measurement::Bare(_) => Ok(Complaints::new()),
    }
}

/// A measurement with the settings that it has by default.
fn by_name(name: &str) -> anyhow::Result<Measurement> {
    Bench::try_parse_from(["bench", name])?.what.context("there is no such measurement")
}

fn warn_of_debug() {
    if !IS_RELEASE {
        say("*****************************************************************************");
        say("DEBUG BUILD. These numbers say nothing about the suite; publish none of them.");
        say("Measure with:  make bench");
        say("*****************************************************************************");
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_sound_and_every_measurement_has_its_defaults() {
        Bench::command().debug_assert();
        for name in ALL {
            by_name(name).unwrap();
        }
    }
}
