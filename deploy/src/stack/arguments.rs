//! Arguments, advice and signal handling that several commands share.

use std::path::{Path, PathBuf};

use anyhow::bail;
use common::service::next_signal;

use crate::programs::tools;

#[derive(clap::Args)]
pub(super) struct StateFolder {
    /// Folder with the stack's data, secrets and logs
    #[arg(long, default_value_os_t = default_state(), value_name = "DIR")]
    pub(super) state: PathBuf,
}

/// The state folder of this checkout.
pub(super) fn default_state() -> PathBuf {
    tools::project().join(".state")
}

/// A command of `stack` for a state folder, to be copied into a shell.
pub(super) fn command(action: &str, state: &Path) -> String {
    let program = std::env::current_exe().unwrap_or_else(|_| "stack".into());
    let state = state.canonicalize().unwrap_or_else(|_| state.to_owned());
    format!("{} {action} --state {}", quoted(&program), quoted(&state))
}

/// A path as a word of a shell's command.
pub(super) fn quoted(path: &Path) -> String {
    let path = path.to_string_lossy();
    shlex::try_quote(&path).map(String::from).unwrap_or_else(|_| path.to_string())
}

/// Ends early on SIGTERM or SIGINT. Dropping the work kills its processes.
pub(super) async fn unless_interrupted<T>(
    work: impl Future<Output = anyhow::Result<T>>,
) -> anyhow::Result<T> {
    unless_interrupted_by(next_signal(), work).await
}

/// The same, by a signal that was listened for before.
pub(super) async fn unless_interrupted_by<T>(
    signal: impl Future<Output = std::io::Result<()>>,
    work: impl Future<Output = anyhow::Result<T>>,
) -> anyhow::Result<T> {
    tokio::select! {
        outcome = work => outcome,
        _ = signal => bail!("interrupted"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_with_a_space_stays_one_word_of_a_printed_command() {
        let words = shlex::split(&command("down", Path::new("/tmp/my church/it's"))).unwrap();
        assert_eq!(words[1..], ["down", "--state", "/tmp/my church/it's"]);
    }
}
