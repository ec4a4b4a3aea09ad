//! Everything on one machine, with one command.

use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::{Parser, Subcommand};
use common::service::next_signal;
use common::telemetry::{self, LogFormat, LogOptions};
use deploy::installation::Database;
use deploy::simulator::Outcome;
use deploy::stack_file::StackFile;
use deploy::{demo, guard, nats, occupancy, token, tools};
use serde_json::Value;

mod up;

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
struct At {
    /// Folder of the stack's data, secrets and logs
    #[arg(long, default_value_os_t = tools::project().join(".state"), value_name = "DIR")]
    state: PathBuf,
}

#[derive(clap::Args)]
struct Up {
    #[command(flatten)]
    at: At,
    /// The database; what the folder has, else sqlite
    #[arg(long)]
    database: Option<Database>,
    /// How many gateways
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=16))]
    gateways: u8,
    /// Where message-api and the gateways listen; 0.0.0.0 for other devices in the network
    #[arg(long, default_value_t = Ipv4Addr::LOCALHOST.into(), value_name = "IP")]
    listen: IpAddr,
    /// Origins of web pages besides localhost, comma separated: http://192.168.1.5:3000
    #[arg(long, value_delimiter = ',', value_name = "ORIGIN")]
    cors: Vec<String>,
    /// Go to the background once all is ready
    #[arg(long)]
    detach: bool,
    /// Send a little traffic
    #[arg(long)]
    traffic: bool,
    /// This is the process in the background
    #[arg(long, hide = true)]
    detached: bool,
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

#[derive(clap::Args)]
struct Trigger {
    /// What becomes of the message
    outcome: Outcome,
    /// The message's id as message-api gave it; or a recipient's id, or Telnyx's id of the message
    message: uuid::Uuid,
    /// The message's church
    #[arg(long, value_name = "ID", default_value = demo::CHURCH)]
    church: String,
    #[command(flatten)]
    at: At,
}

fn main() -> ExitCode {
    let command = Command::parse();
    if matches!(command.what, What::Guard) {
        guard::run();
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
        What::Trigger(options) => trigger(options).await,
        What::Tools => fetch_tools(),
        What::Check => nats::check(),
        What::Guard => Ok(()),
    }
}

/// Ends early on SIGTERM or SIGINT; what runs is killed as it is dropped.
async fn or_signal<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::select! {
        outcome = work => outcome,
        _ = next_signal() => bail!("interrupted"),
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

async fn trigger(options: Trigger) -> anyhow::Result<()> {
    let file = StackFile::read(&options.at.state)?;
    let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(5)).build()?;
    let outcome = serde_json::to_value(options.outcome)?;
    let simulator = format!("{}/simulator/messages", file.telnyx);
    let end = async |id: &str| -> anyhow::Result<bool> {
        let url = format!("{simulator}/{id}/{}", outcome.as_str().unwrap_or_default());
        Ok(http.post(url).send().await.context("the simulator does not answer")?.status().is_success())
    };
    let mut ended = usize::from(end(&options.message.to_string()).await?);
    if ended == 0 {
        let token = token::mint(&file.jwt_secret, &options.church, demo::USER, Duration::from_secs(60))?;
        for recipient in recipients(&http, &file, &token, options.message).await? {
            ended += usize::from(end(&recipient).await?);
        }
    }
    anyhow::ensure!(ended > 0, "Telnyx was not asked to send this message, or has forgotten it");
    writeln!(std::io::stdout(), "told the simulator for {ended} recipient(s)")?;
    Ok(())
}

/// The ids of a message's recipients, as message-api gives them.
async fn recipients(
    http: &reqwest::Client,
    file: &StackFile,
    token: &str,
    message: uuid::Uuid,
) -> anyhow::Result<Vec<String>> {
    let request = http.get(format!("{}/api/messages/{message}/recipients", file.api)).bearer_auth(token);
    let answer = request.send().await.context("message-api does not answer")?;
    anyhow::ensure!(
        answer.status().is_success(),
        "message-api knows no such message of this church ({}); name the church with --church",
        answer.status()
    );
    let body: Value = answer.json().await?;
    let recipients = body["data"].as_array().cloned().unwrap_or_default();
    Ok(recipients.iter().filter_map(|recipient| Some(recipient["id"].as_str()?.to_owned())).collect())
}

fn fetch_tools() -> anyhow::Result<()> {
    let mut out = std::io::stdout();
    writeln!(out, "nats-server       {}", tools::nats_server()?.display())?;
    writeln!(out, "PostgreSQL        {}", tools::postgres()?.display())?;
    writeln!(out, "socket.io-client  {}", tools::client()?.join("node_modules").display())?;
    writeln!(out, "React, TypeScript {}", tools::frontend()?.join("node_modules").display())?;
    Ok(())
}
