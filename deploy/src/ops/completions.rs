//! `ops completions`: a script with which a shell completes the commands and flags.

use std::process::ExitCode;

use clap::Command;
use clap_complete::{Shell, generate};

#[derive(clap::Args)]
pub(super) struct Completions {
    /// The shell
    shell: Shell,
}

/// Prints the script, also with `--json`.
pub(super) fn run(options: &Completions, mut command: Command) -> ExitCode {
    generate(options.shell, &mut command, "ops", &mut std::io::stdout());
    ExitCode::SUCCESS
}
