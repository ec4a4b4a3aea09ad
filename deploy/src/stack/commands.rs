//! Everything on one machine, with one command.

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use common::telemetry::{self, LogFormat, LogOptions};

use super::arguments::{At, or_signal};
use super::stack_file::StackFile;
use super::trigger::{self, Trigger};
use super::up::{self, Up};
use super::{demo, occupancy};
use crate::client::token;
use crate::programs::{nats, run_guard, tools};

/// Runs the suite on one machine: the broker, the database, a Telnyx simulator and the three services.
#[derive(Parser)]
#[command(name = "stack", version)]
struct Command {
    /// What the stack itself logs; the services have LOG and files of their own
    #[arg(long, env = "STACK_LOG", default_value = "warn", value_name = "FILTER")]
    log: String,
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Start everything, print where it is, and stay until Ctrl-C
    Up(Up),
    /// Stop what `up` started
    Down(At),
    /// Send one message in a fresh folder and show every step of its way
    Demo,
    /// Print a token of a user
    Token(Token),
    /// Let the simulator end a message: delivered, failed, read, unconfirmed or silent
    Trigger(Trigger),
    /// Fetch the programs that the machine lacks
    Tools,
    /// Let nats-server check nats.conf
    Check,
    #[command(hide = true)]
    Guard,
}

#[derive(clap::Args)]
struct Token {
    #[command(flatten)]
    at: At,
    /// The user's church
    #[arg(long, value_name = "ID", default_value = demo::CHURCH)]
    church: String,
    /// The user
    #[arg(long, value_name = "ID", default_value = demo::USER)]
    user: String,
    /// How long the token is valid
    #[arg(long, default_value_t = 3600, value_name = "SECONDS")]
    expires_in: u64,
}

/// Runs the command of the command line. Gives the process its exit code.
pub fn main() -> ExitCode {
    let command = Command::parse();
    if matches!(command.what, What::Guard) {
        run_guard();
        return ExitCode::SUCCESS;
    }
    let log = LogOptions { log: command.log.clone(), log_format: LogFormat::Text };
    let outcome = telemetry::init("stack", &log).map_err(anyhow::Error::from).and_then(|()| run(command));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Standard error may be closed; there is nobody else to tell.
            let _ = writeln!(std::io::stderr(), "stack: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn run(command: Command) -> anyhow::Result<()> {
    match command.what {
        What::Up(options) => up::run(options).await,
        What::Down(at) => down(at).await,
        What::Demo => or_signal(demo::run(&tools::project().join(".state/demo"))).await,
        What::Token(options) => print_token(&options),
        What::Trigger(options) => trigger::run(options).await,
        What::Tools => fetch_tools(),
        What::Check => nats::check(),
        What::Guard => Ok(()),
    }
}

async fn down(at: At) -> anyhow::Result<()> {
    let mut out = std::io::stdout();
    if occupancy::stop_running(&at.state).await? {
        writeln!(out, "stopped; the data is still in {}", at.state.display())?;
    } else {
        writeln!(out, "no stack runs in {}", at.state.display())?;
    }
    Ok(())
}

fn print_token(options: &Token) -> anyhow::Result<()> {
    let secret = StackFile::read(&options.at.state)?.jwt_secret;
    let expires_in = Duration::from_secs(options.expires_in);
    writeln!(std::io::stdout(), "{}", token::mint(&secret, &options.church, &options.user, expires_in)?)?;
    Ok(())
}

fn fetch_tools() -> anyhow::Result<()> {
    let mut out = std::io::stdout();
    writeln!(out, "nats-server       {}", tools::nats_server()?.display())?;
    writeln!(out, "PostgreSQL        {}", tools::postgres()?.display())?;
    writeln!(out, "socket.io-client  {}", tools::client()?.join("node_modules").display())?;
    writeln!(out, "React, TypeScript {}", tools::frontend()?.join("node_modules").display())?;
    Ok(())
}
