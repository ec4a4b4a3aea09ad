//! `ops forget`: erases a person.

use std::fmt::{self, Display};
use std::process::ExitCode;

use anyhow::Context as _;
use common::store::Erased;
use serde::Serialize;

use super::database::DatabaseOptions;
use super::output::Output;
use super::sender::e164;

#[derive(clap::Args)]
pub(super) struct Forget {
    #[command(flatten)]
    database: DatabaseOptions,
    /// The person's number in E.164
    #[arg(long, value_parser = e164)]
    phone: String,
    /// Only count what would be erased
    #[arg(long)]
    dry_run: bool,
}

/// It does not repeat the number, because it may be kept.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    dry_run: bool,
    #[serde(flatten)]
    erased: Erased,
}

impl Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = if self.dry_run { "would erase" } else { "erased" };
        let Erased { recipients, unsent, webhooks, inbound, events } = self.erased;
        writeln!(
            out,
            "{verb} the number and names of {recipients} recipients ({unsent} of them fail instead of being sent a \
             text), the bodies of {webhooks} webhooks, {inbound} texts that came in and the reasons of {events} events",
        )
    }
}

pub(super) async fn run(options: Forget, output: Output) -> anyhow::Result<ExitCode> {
    let store = options.database.open().await?;
    let erased = store.erase_phone(&options.phone, options.dry_run).await;
    let erased = erased.context("can't erase everything; run the command again")?;
    output.report(&Report { dry_run: options.dry_run, erased })?;
    Ok(ExitCode::SUCCESS)
}
