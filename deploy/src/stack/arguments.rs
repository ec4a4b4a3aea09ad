//! Arguments and signal handling that several commands share.

use std::path::PathBuf;

use anyhow::bail;
use common::service::next_signal;

use crate::programs::tools;

#[derive(clap::Args)]
pub(super) struct StateFolder {
    /// Folder with the stack's data, secrets and logs
    #[arg(long, default_value_os_t = tools::project().join(".state"), value_name = "DIR")]
    pub(super) state: PathBuf,
}

/// Ends early on SIGTERM or SIGINT. Dropping the work kills its processes.
pub(super) async fn unless_interrupted<T>(
    work: impl Future<Output = anyhow::Result<T>>,
) -> anyhow::Result<T> {
    tokio::select! {
        outcome = work => outcome,
        _ = next_signal() => bail!("interrupted"),
    }
}
