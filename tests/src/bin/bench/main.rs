//! Measures the suite on this machine: `make bench`, or one of the measurements by name.
//!
//! Without a name all of them run, shortened to about ten minutes altogether. The services are the real programs
//! of a stack of its own; the generator is this process. Ends with 1 if a webhook or an event is missing, if one comes
//! twice where it may not, or if an answer came later than Telnyx waits.

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
mod foreign;
mod idle;
mod live;
mod polling;
mod restart;
mod rooms;
mod stage;
mod storm;
mod webhooks;

/// Measures the suite on this machine. Without a name: everything, shortened to about ten minutes.
#[derive(Debug, Parser)]
#[command(name = "bench", version)]
struct Bench {
    /// Folder that the databases stand in while they are measured; its disk is what is measured
    #[arg(long, global = true, value_name = "DIR", default_value_os_t = default_state())]
    state: PathBuf,
    /// Only this database
    #[arg(long, global = true, value_enum)]
    database: Option<Database>,
    /// Leave the stacks' folders, with their logs, where they are
    #[arg(long, global = true)]
    keep: bool,
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
    /// Memory after thousands have come and gone
    Churn(churn::Options),
    /// Deliveries a second to one big room, and to many small ones
    Rooms(rooms::Options),
    /// Connections that are cut again and again, and resume
    Storm(storm::Options),
    /// Everybody back after a gateway was killed, and after one was replaced
    Restart(restart::Options),
    /// What clients that poll the history cost, beside clients that are connected
    Polling(polling::Options),
    /// A message to ten thousand, and other churches' messages meanwhile
    Accepting(accepting::Options),
    /// Idle connections and deliveries of any other Socket.IO server that runs already
    Foreign(foreign::Options),
    /// The handler that `webhooks` compares with
    #[command(hide = true)]
    Bare(bare::Options),
}

/// In the order in which they run if all do, and what is shortened then.
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

/// Where and on what to measure.
#[derive(Debug, Clone)]
struct Place {
    state: PathBuf,
    databases: Vec<Database>,
    /// The stacks' folders stay.
    keep: bool,
    /// Files that we, and each process that we start, may have open.
    open_files: u64,
}

impl Place {
    /// The database of a measurement in which it hardly matters.
    fn any_database(&self) -> Database {
        self.databases.first().copied().unwrap_or_default()
    }

    /// As many of these connections as the limit of open files allows; says so if these are fewer.
    fn affordable(&self, wanted: usize, gateways: usize) -> usize {
        let possible = machine::affordable(wanted, gateways, self.open_files);
        if possible < wanted {
            say(format_args!(
                "WARNING: {possible} connections instead of {wanted}: a process may have {} files open here. Raise \
                 the hard limit (`ulimit -Hn`; LimitNOFILE= of a systemd unit, nofile in /etc/security/limits.conf)",
                self.open_files
            ));
        }
        possible
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
    let open_files = machine::raise_open_files();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(measure(bench, open_files))
}

async fn measure(bench: Bench, open_files: u64) -> anyhow::Result<Complaints> {
    let all = [Database::Sqlite, Database::Postgres];
    let databases = bench.database.map_or(all.to_vec(), |only| vec![only]);
    let place = Place { state: bench.state, databases, keep: bench.keep, open_files };
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
            for line in ALL {
                if line.len() > 1 {
                    say(format_args!("\nshortened: {}", line.join(" ")));
                }
                complaints.extend(one(read(line)?, &place).await.with_context(|| line[0])?);
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
        Measurement::Churn(options) => churn::run(&options, place).await,
        Measurement::Rooms(options) => rooms::run(&options, place).await,
        Measurement::Storm(options) => storm::run(&options, place).await,
        Measurement::Restart(options) => restart::run(&options, place).await,
        Measurement::Polling(options) => polling::run(&options, place).await,
        Measurement::Accepting(options) => accepting::run(&options, place).await,
        Measurement::Foreign(options) => foreign::run(&options, place).await,
        Measurement::Bare(_) => Ok(Complaints::new()),
    }
}

/// A measurement by its command line.
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
    fn the_command_line_is_sound_and_so_is_that_of_every_measurement() {
        Bench::command().debug_assert();
        for line in ALL {
            read(line).unwrap();
        }
    }
}
