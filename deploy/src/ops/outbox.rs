//! `ops outbox`.

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Subcommand;
use common::store::{Store, StoreOptions};
use uuid::Uuid;

#[derive(clap::Args)]
pub(super) struct Outbox {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Announce refused events again, after the stream's limits were raised
    Retry(Retry),
}

#[derive(clap::Args)]
struct Retry {
    #[command(flatten)]
    store: StoreOptions,
    /// One event, as `ops audit` names it; all of them if not given
    #[arg(long, value_name = "ID")]
    event: Option<Uuid>,
}

pub(super) async fn run(options: Outbox) -> anyhow::Result<ExitCode> {
    let What::Retry(retry) = options.what;
    let count =
        Store::new(&retry.store)?.retry_refused(retry.event).await.context("can't put events back")?;
    if count == 0 && retry.event.is_some() {
        anyhow::bail!("--event: the stream refused no such event");
    }
    writeln!(std::io::stdout(), "{count} events wait in the outbox again")?;
    Ok(ExitCode::SUCCESS)
}
