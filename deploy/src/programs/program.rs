//! A program to run, with the environment and the user that it runs with.

use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// What a process inherits of our environment. Everything else would be configuration that nobody meant.
const INHERITED: [&str; 8] =
    ["PATH", "HOME", "TMPDIR", "LANG", "LOG", "LOG_FORMAT", "RUST_BACKTRACE", "SSL_CERT_FILE"];

/// What to start.
#[derive(Debug, Clone)]
pub struct Program {
    /// Its name in messages, in `stack.json` and of its log file.
    pub name: String,
    /// The file to run.
    pub file: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// Its environment besides the little that is inherited; a later one of the same name wins.
    pub environment: Vec<(String, String)>,
    /// User and group to run as, where it may not be ours.
    pub user: Option<(u32, u32)>,
    /// It stops quickly on SIGINT (PostgreSQL) and not on SIGTERM.
    pub stops_on_interrupt: bool,
}

impl Program {
    /// A program without arguments that runs as we do.
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
