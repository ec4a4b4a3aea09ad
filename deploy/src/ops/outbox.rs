//! `ops outbox`: refused events.

use std::process::ExitCode;

use anyhow::Context as _;
use clap::Subcommand;
use uuid::Uuid;

use super::database::DatabaseOptions;
use super::output::Output;

#[derive(clap::Args)]
pub(super) struct Outbox {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Announce refused events again; first raise the stream's limits
    Retry(Retry),
}

#[derive(clap::Args)]
struct Retry {
    #[command(flatten)]
    database: DatabaseOptions,
    /// One event, by its id in `ops audit`; by default all
    #[arg(long, value_name = "ID")]
    event: Option<Uuid>,
}

pub(super) async fn run(options: Outbox, output: Output) -> anyhow::Result<ExitCode> {
    let Action::Retry(retry) = options.action;
    let count = retry.database.open().await?.retry_refused(retry.event).await;
    let count = count.context("can't put refused events back")?;
    if count == 0 && retry.event.is_some() {
        anyhow::bail!("--event: the stream has not refused this event; `ops audit` lists refused ones");
    }
    output.say(format!("put {count} events back into the outbox"))?;
    Ok(ExitCode::SUCCESS)
}
