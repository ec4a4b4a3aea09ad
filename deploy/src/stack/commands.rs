//! The command line of `stack`.

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use common::telemetry::{self, LogFormat, LogOptions};
use common::version::VERSION;

use super::arguments::{StateFolder, unless_interrupted};
use super::stack_file::StackFile;
use super::trigger::{self, Trigger};
use super::up::{self, Up};
use super::{demo, lock};
use crate::checks::{self, Check};
use crate::client::token;
use crate::programs::{run_reaper, tools};
use crate::release;

/// Runs the suite on one machine: broker, database, Telnyx simulator and the three services.
#[derive(Parser)]
#[command(name = "stack", version = VERSION)]
struct Command {
    /// Log filter of the stack itself; the services use LOG and write log files
    #[arg(long, env = "STACK_LOG", default_value = "warn", value_name = "FILTER")]
    log: String,
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Start everything, print the addresses, and run until Ctrl-C
    Up(Up),
    /// Stop a running stack
    Down(StateFolder),
    /// Send one message through a fresh stack and show each of its steps
    Demo,
    /// Print a token for a user
    Token(Token),
    /// Make the simulator end a message (delivered, failed, read, unconfirmed or silent), or send a text (reply)
    Trigger(Trigger),
    /// Fetch missing programs: nats-server, PostgreSQL, npm packages
    Tools,
    /// Check a file that production runs, with the program that reads it there
    #[command(subcommand)]
    Check(Check),
    /// Build the programs and pack them with all that an installation needs
    Release,
    /// Stop the processes named on standard input once it ends
    #[command(hide = true)]
    Reap,
}

#[derive(clap::Args)]
struct Token {
    #[command(flatten)]
    folder: StateFolder,
    /// The user's church
    #[arg(long, value_name = "ID", default_value = demo::CHURCH)]
    church: String,
    /// The user
    #[arg(long, value_name = "ID", default_value = demo::USER)]
    user: String,
    /// Lifetime of the token
    #[arg(long, default_value_t = 3600, value_name = "SECONDS")]
    expires_in: u64,
}

/// Runs the command of the command line. Gives the process its exit code.
pub fn main() -> ExitCode {
    let command = Command::parse();
    if matches!(command.action, Action::Reap) {
        run_reaper();
        return ExitCode::SUCCESS;
    }
    let log = LogOptions { log: command.log.clone(), log_format: LogFormat::Text };
    let outcome = telemetry::init("stack", &log).map_err(anyhow::Error::from).and_then(|()| run(command));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Standard error may be closed.
            let _ = writeln!(std::io::stderr(), "stack: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn run(command: Command) -> anyhow::Result<()> {
    match command.action {
        Action::Up(options) => up::run(options).await,
        Action::Down(folder) => down(folder).await,
        Action::Demo => unless_interrupted(demo::run(&tools::project().join(".state/demo"))).await,
        Action::Token(options) => print_token(&options),
        Action::Trigger(options) => trigger::run(options).await,
        Action::Tools => fetch_tools(),
        Action::Check(check) => checks::run(&check),
        Action::Release => release::run(),
        Action::Reap => Ok(()),
    }
}

async fn down(folder: StateFolder) -> anyhow::Result<()> {
    let mut out = std::io::stdout();
    if lock::stop_running(&folder.state).await? {
        writeln!(out, "stopped; the data stays in {}", folder.state.display())?;
    } else {
        writeln!(out, "no stack runs in {}", folder.state.display())?;
    }
    Ok(())
}

fn print_token(options: &Token) -> anyhow::Result<()> {
    let secret = StackFile::read(&options.folder.state)?.jwt_secret;
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
    writeln!(out, "client package    {}", tools::client_package()?.display())?;
    writeln!(out, "Telnyx for Python {}", tools::python_packages("telnyx")?.display())?;
    Ok(())
}
