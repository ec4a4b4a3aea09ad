//! Settings that a deployment gives to a service, judged by the service itself.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::process::{ChildStderr, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Context as _, anyhow, ensure};

use crate::programs::services::binary;

/// Longest wait for the next line of its log.
const LIMIT: Duration = Duration::from_secs(30);

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
    let said = until_it_listens(log);
    let _ = process.kill();
    process.wait()?;
    said.map_err(|last| anyhow!("{program} does not start: {last}"))
}

/// Reads a log until the service says that it listens, which it does once it has taken all settings. Fails with the last
/// line.
fn until_it_listens(log: ChildStderr) -> Result<(), String> {
    let (sender, lines) = mpsc::channel();
    std::thread::spawn(move || {
        // Ends with the log, or when nobody waits any more.
        BufReader::new(log).lines().map_while(Result::ok).all(|line| sender.send(line).is_ok())
    });
    let mut last = "it says nothing".to_owned();
    while let Ok(line) = lines.recv_timeout(LIMIT) {
        if line.contains("listening") || line.contains("taking webhooks") {
            return Ok(());
        }
        last = line;
    }
    Err(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gateway(changed: &[(&str, &str)]) -> anyhow::Result<()> {
        let right = [
            ("GATEWAY_LISTEN", "0.0.0.0:8082"),
            ("GATEWAY_OPS_LISTEN", "0.0.0.0:9082"),
            ("NATS_URL", "nats://127.0.0.1:1"),
            ("NATS_USER", "gateway"),
            ("NATS_PASSWORD", "p1"),
            ("JWT_SECRET", "a-secret-of-at-least-thirty-two-bytes"),
        ];
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        check("realtime-gateway", &right.iter().chain(changed).map(own).collect())
    }

    #[test]
    fn a_service_judges_its_settings() {
        gateway(&[]).unwrap();
        let misspelt = gateway(&[("JWT_SECRETS", "x")]).unwrap_err().to_string();
        assert_eq!(misspelt, "realtime-gateway has no setting JWT_SECRETS");
        let short = gateway(&[("JWT_SECRET", "short")]).unwrap_err().to_string();
        assert!(short.contains("JWT_SECRET") && short.contains("32 bytes"), "{short}");
    }
}
