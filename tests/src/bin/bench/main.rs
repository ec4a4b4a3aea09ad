//! Measures the suite on this machine: all measurements, or one by name.
//!
//! Without a name all of them run, shortened to about ten minutes in total. The services are the real programs in a
//! stack of their own; the generator is this process. Exits with 1 if a webhook or an event is missing or wrongly
//! repeated, or if an answer came later than Telnyx waits.

use std::path::PathBuf;
use std::process::ExitCode;

use ::tests::load::machine;
use ::tests::load::report::{IS_RELEASE, say};
use anyhow::Context as _;
use clap::{Parser, Subcommand};
use deploy::stack::Database;

mod accepting;
mod bare;
mod burst;
mod churn;
mod environment;
mod foreign;
mod growth;
mod history;
mod idle;
mod live;
mod peer;
mod polling;
mod posting;
mod relay;
mod restart;
mod rooms;
mod scaling;
mod server;
mod stage;
mod storm;
mod webhooks;

use environment::{Complaints, Environment};

/// Measures the suite on this machine. Without a name: everything, shortened to about ten minutes.
#[derive(Debug, Parser)]
#[command(name = "bench", version)]
struct Bench {
    /// Folder for the databases; its disk is the one that is measured
    #[arg(long, global = true, value_name = "DIR", default_value_os_t = default_state())]
    state: PathBuf,
    /// Measure only this database
    #[arg(long, global = true, value_enum)]
    database: Option<Database>,
    /// Keep the stacks' folders with their logs
    #[arg(long, global = true)]
    keep: bool,
    #[command(subcommand)]
    what: Option<Measurement>,
}

#[derive(Debug, Subcommand)]
enum Measurement {
    /// Durable webhooks per second, compared with a handler that only verifies and commits the bodies
    Webhooks(webhooks::Options),
    /// Thousands of webhooks at once: each answered within two seconds, none lost
    Burst(burst::Options),
    /// From a webhook's POST to the event in a client, with 500 clients connected
    Live(live::Options),
    /// Memory of an idle connection, and connecting
    Idle(idle::Options),
    /// Memory after thousands of clients have connected and left
    Churn(churn::Options),
    /// Deliveries per second to one big room and to many small ones
    Rooms(rooms::Options),
    /// Connections that are cut repeatedly and resume
    Storm(storm::Options),
    /// Time until all clients are back after a gateway was killed or replaced
    Restart(restart::Options),
    /// The cost of clients that poll the history, compared with connected clients
    Polling(polling::Options),
    /// A message to ten thousand recipients, and other churches' messages meanwhile
    Accepting(accepting::Options),
    /// Pages of the history in a database of a million messages, by page and by cursor, with each filter
    History(history::Options),
    /// CPU of a webhook with ten thousand churches and a million messages, beside ten churches and an empty database
    Growth(growth::Options),
    /// A backlog of events that the relay announces, and what one event costs everybody
    Relay(relay::Options),
    /// Counts the work of each part of a large installation, by simulation
    Scaling(scaling::Options),
    /// The usual design in Node beside the suite: webhooks, deliveries, idle connections
    Peer(peer::Options),
    /// Idle connections and deliveries of another Socket.IO server that already runs
    Foreign(foreign::Options),
    /// The handler that `webhooks` compares with
    #[command(hide = true)]
    Bare(bare::Options),
}

/// All measurements in the order in which they run, with the arguments that shorten them.
const ALL: [&[&str]; 10] = [
    &["webhooks"],
    &["burst"],
    &["live"],
    &["idle", "--seconds", "25"],
    &["churn"],
    &["rooms"],
    &["storm", "--seconds", "45"],
    &["restart"],
    &["polling"],
    &["accepting"],
];

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
    let open_files = machine::raise_open_files();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(measure(bench, open_files))
}

async fn measure(bench: Bench, open_files: u64) -> anyhow::Result<Complaints> {
    let all = [Database::Sqlite, Database::Postgres];
    let databases = bench.database.map_or(all.to_vec(), |only| vec![only]);
    let environment = Environment { state: bench.state, databases, keep: bench.keep, open_files };
    if let Some(Measurement::Bare(options)) = bench.what {
        return bare::run(options).await.map(|()| Complaints::new());
    }
    std::fs::create_dir_all(&environment.state)
        .with_context(|| format!("can't make {}", environment.state.display()))?;
    warn_of_debug();
    say(machine::describe(&environment.state)?);
    machine::warning().iter().for_each(say);
    let mut complaints = Complaints::new();
    match bench.what {
        Some(what) => complaints.extend(one(what, &environment).await?),
        None => {
            for line in ALL {
                if line.len() > 1 {
                    say(format_args!("\nshortened: {}", line.join(" ")));
                }
                complaints.extend(one(read(line)?, &environment).await.with_context(|| line[0])?);
            }
        }
    }
    warn_of_debug();
    Ok(complaints)
}

async fn one(what: Measurement, environment: &Environment) -> anyhow::Result<Complaints> {
    match what {
        Measurement::Webhooks(options) => webhooks::run(&options, environment).await,
        Measurement::Burst(options) => burst::run(&options, environment).await,
        Measurement::Live(options) => live::run(&options, environment).await,
        Measurement::Idle(options) => idle::run(&options, environment).await,
        Measurement::Churn(options) => churn::run(&options, environment).await,
        Measurement::Rooms(options) => rooms::run(&options, environment).await,
        Measurement::Storm(options) => storm::run(&options, environment).await,
        Measurement::Restart(options) => restart::run(&options, environment).await,
        Measurement::Polling(options) => polling::run(&options, environment).await,
        Measurement::Accepting(options) => accepting::run(&options, environment).await,
        Measurement::History(options) => Box::pin(history::run(&options, environment)).await,
        Measurement::Growth(options) => Box::pin(growth::run(&options, environment)).await,
        Measurement::Relay(options) => Box::pin(relay::run(&options, environment)).await,
        Measurement::Scaling(options) => Ok(scaling::run(&options)),
        Measurement::Peer(options) => Box::pin(peer::run(&options, environment)).await,
        Measurement::Foreign(options) => foreign::run(&options, environment).await,
        Measurement::Bare(_) => Ok(Complaints::new()),
    }
}

/// Parses the command line of a measurement.
fn read(line: &[&str]) -> anyhow::Result<Measurement> {
    let line = ["bench"].iter().chain(line);
    Bench::try_parse_from(line)?.what.context("there is no such measurement")
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
    fn every_command_line_is_valid() {
        Bench::command().debug_assert();
        for line in ALL {
            read(line).unwrap();
        }
    }
}
