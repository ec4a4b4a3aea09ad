//! A program with its arguments, environment and user.

use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};

/// Variables that a process inherits from us. Any other one could change its configuration unintentionally.
const INHERITED: [&str; 8] =
    ["PATH", "HOME", "TMPDIR", "LANG", "LOG", "LOG_FORMAT", "RUST_BACKTRACE", "SSL_CERT_FILE"];

/// A program to start.
#[derive(Debug, Clone)]
pub struct Program {
    /// Its name in messages, in `stack.json` and in the name of its log file.
    pub name: String,
    /// The file to run.
    pub file: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// Its environment besides the inherited variables. The last one of a name counts.
    pub environment: Vec<(String, String)>,
    /// User and group to run as, if not ours.
    pub user: Option<(u32, u32)>,
    /// Whether SIGINT stops it fast and SIGTERM does not (PostgreSQL).
    pub stops_on_interrupt: bool,
}

impl Program {
    /// A program without arguments, as our user.
    pub fn new(name: impl Into<String>, file: PathBuf) -> Self {
        Self {
            name: name.into(),
            file,
            arguments: Vec::new(),
            environment: Vec::new(),
            user: None,
            stops_on_interrupt: false,
        }
    }

    /// The program as a command with its environment and user.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.file);
        command.args(&self.arguments).env_clear().stdin(Stdio::null());
        command.envs(INHERITED.iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        if let Some((user, group)) = self.user {
            command.uid(user).gid(group);
        }
        command
    }
}

/// Runs a command to its end.
///
/// # Errors
/// It can't be started, or it failed; the error has its standard error.
pub(crate) fn complete(command: &mut Command) -> anyhow::Result<()> {
    let program = command.get_program().to_owned();
    let output = command.output().with_context(|| format!("can't run {}", program.display()))?;
    if !output.status.success() {
        bail!("{} failed: {}", program.display(), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
