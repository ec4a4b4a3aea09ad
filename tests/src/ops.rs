//! The operators' program, as an operator runs it.

use std::process::{Output, Stdio};

use deploy::services::binary;
use serde_json::Value;
use tokio::process::{Child, Command};

use crate::stack::TestStack;

/// What a command said.
#[derive(Debug)]
pub struct Said {
    /// The exit code.
    pub code: i32,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl Said {
    /// The report as JSON.
    ///
    /// # Panics
    /// If it is none.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    fn of(output: &Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let code = output.status.code().expect("it ended by itself");
        Self { code, out: text(&output.stdout), err: text(&output.stderr) }
    }
}

/// Runs a command with these variables alone, to its end.
///
/// # Panics
/// If it does not run.
pub async fn ops(arguments: &[&str], environment: &[(&str, &str)]) -> Said {
    Said::of(&command(arguments, environment).output().await.expect("ops runs"))
}

/// Starts a command with these variables alone.
///
/// # Panics
/// If it does not start.
pub fn ops_running(arguments: &[&str], environment: &[(&str, &str)]) -> Child {
    running(command(arguments, environment))
}

fn running(mut command: Command) -> Child {
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command.spawn().expect("ops starts")
}

fn command(arguments: &[&str], environment: &[(&str, &str)]) -> Command {
    let mut command = Command::new(binary("ops").expect("ops is built"));
    command.args(arguments).env_clear().envs(environment.iter().copied()).stdin(Stdio::null());
    command
}

impl TestStack {
    /// Runs a command on this stack, to its end.
    ///
    /// # Panics
    /// If it does not run.
    pub async fn ops(&self, arguments: &[&str]) -> Said {
        Said::of(&self.ops_command(arguments).output().await.expect("ops runs"))
    }

    /// Runs a command on this stack with all settings of its services, and others in their place.
    ///
    /// # Panics
    /// If it does not run.
    pub async fn ops_with_settings(&self, arguments: &[&str], others: &[(&str, &str)]) -> Said {
        let file = self.stack.state().join("ops.env").display().to_string();
        let arguments = [arguments, &["--env-file", &file]].concat();
        let mut command = command(&arguments, &[("USER", "anna")]);
        Said::of(&command.envs(others.iter().copied()).output().await.expect("ops runs"))
    }

    /// Starts a command on this stack.
    ///
    /// # Panics
    /// If it does not start.
    pub fn ops_running(&self, arguments: &[&str]) -> Child {
        running(self.ops_command(arguments))
    }

    pub(crate) fn ops_command(&self, arguments: &[&str]) -> Command {
        let file = self.stack.file();
        let gateways = file.ops.gateways.join(",");
        command(
            arguments,
            &[
                ("DATABASE_URL", &file.database),
                ("NATS_URL", &file.nats.url),
                ("NATS_OPS_PASSWORD", file.nats.users.get("ops").map_or("", String::as_str)),
                ("API_OPS_URLS", &file.ops.api),
                ("INGEST_OPS_URLS", &file.ops.ingest),
                ("GATEWAY_OPS_URLS", &gateways),
                ("USER", "anna"),
            ],
        )
    }
}
