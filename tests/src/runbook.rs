//! Runs the commands of docs/runbook.md on a stack, as an operator does.

use std::process::Stdio;

use deploy::services::binary;
use deploy::tools;
use tokio::process::Command;

use crate::certificates::commands;
use crate::stack::TestStack;

impl TestStack {
    /// Runs a block of the runbook with these values in addition to the stack's own. Returns what it printed.
    ///
    /// # Panics
    /// If a command fails.
    pub async fn runbook(&self, block: &str, values: &[(&str, &str)]) -> String {
        let (file, script) = (self.stack.file(), commands(block));
        let ops = binary("ops").expect("ops is built");
        let programs = [ops.parent().map(ToOwned::to_owned), tools::postgres().ok()];
        let mut path = programs.into_iter().flatten().collect::<Vec<_>>();
        path.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
        let path = std::env::join_paths(path).expect("a path");
        let mut shell = Command::new("bash");
        shell.args(["-euo", "pipefail", "-c", &script]).env_clear().stdin(Stdio::null());
        shell.env("PATH", path).env("USER", "anna").env("DATABASE_URL", &file.database);
        shell.env("NATS_URL", &file.nats.url);
        for user in ["ops", "provisioner"] {
            let password = file.nats.users.get(user).map_or("", String::as_str);
            shell.env(format!("NATS_{}_PASSWORD", user.to_uppercase()), password);
        }
        let output = shell.envs(values.iter().copied()).output().await.expect("bash runs");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(output.status.success(), "{script}\n{}{}", text(&output.stdout), text(&output.stderr));
        text(&output.stdout)
    }
}
