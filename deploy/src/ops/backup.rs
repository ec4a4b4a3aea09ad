//! `ops backup`: a copy of the SQLite file while the services run.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;

use super::database::DatabaseOptions;
use super::output::Output;

#[derive(clap::Args)]
pub(super) struct Backup {
    #[command(flatten)]
    database: DatabaseOptions,
    /// The file to write; it must not exist
    #[arg(long, value_name = "FILE")]
    to: PathBuf,
}

pub(super) async fn run(options: Backup, output: Output) -> anyhow::Result<ExitCode> {
    let store = options.database.open().await?;
    let file = options.to.display();
    let bytes = store.back_up(&options.to).await.with_context(|| format!("there is no backup in {file}"))?;
    output.say(format!("wrote and checked {file}, {} KiB", bytes.div_ceil(1024)))?;
    Ok(ExitCode::SUCCESS)
}
