//! Settings that a deployment gives to a service, judged by the service itself.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use anyhow::{Context as _, ensure};

use crate::programs::services::binary;

/// Checks that the program has a setting for each variable, and that it starts with these values. It listens on free
/// ports instead.
pub(super) fn check(program: &str, environment: &BTreeMap<String, String>) -> anyhow::Result<()> {
    let file = binary(program)?;
    let help = String::from_utf8(Command::new(&file).arg("--help").output()?.stdout)?;
    for name in environment.keys() {
        let has = |end: &str| help.contains(&format!("[env: {name}{end}"));
        ensure!(has("]") || has("="), "{program} has no setting {name}");
    }
    let listens = environment.keys().filter(|name| name.ends_with("_LISTEN"));
    let mut started = Command::new(&file);
    started.env_clear().envs(environment).envs(listens.map(|name| (name, "127.0.0.1:0")));
    let mut process = started.stdin(Stdio::null()).stderr(Stdio::piped()).spawn()?;
    let log = process.stderr.take().context("the program has no standard error")?;
    // Every service says so once it has taken all settings.
    let is_up = |line: &String| line.contains(" listening ") || line.contains(" taking webhooks ");
    let mut said = Vec::new();
    let mut lines = BufReader::new(log).lines().map_while(Result::ok);
    let up = lines.by_ref().inspect(|line| said.push(line.clone())).any(|line| is_up(&line));
    let _ = process.kill();
    process.wait()?;
    ensure!(up, "{program} does not start: {}", said.last().map_or("", String::as_str));
    Ok(())
}
