//! `ops forget`: erases a person.

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::Context as _;
use common::store::StoreOptions;

use super::database::open;
use super::sender::e164;

#[derive(clap::Args)]
pub(super) struct Forget {
    #[command(flatten)]
    store: StoreOptions,
    /// The person's number in E.164
    #[arg(long, value_parser = e164)]
    phone: String,
    /// Only count what would be erased
    #[arg(long)]
    dry_run: bool,
}

/// The output does not repeat the number, because it may be kept.
pub(super) async fn run(options: Forget) -> anyhow::Result<ExitCode> {
    let erased = open(&options.store)
        .await?
        .erase_phone(&options.phone, options.dry_run)
        .await
        .context("can't erase everything; run the command again")?;
    let verb = if options.dry_run { "would erase" } else { "erased" };
    writeln!(
        std::io::stdout(),
        "{verb} the number and names of {} recipients ({} of them fail instead of being sent a text), the bodies of {} \
         webhooks, {} texts that came in and the reasons of {} events",
        erased.recipients,
        erased.unsent,
        erased.webhooks,
        erased.inbound,
        erased.events
    )?;
    Ok(ExitCode::SUCCESS)
}
