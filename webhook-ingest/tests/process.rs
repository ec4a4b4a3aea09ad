//! The binary: how it starts, which settings it refuses, and how it stops.
#![cfg(unix)]
#![expect(clippy::unwrap_used, clippy::panic, reason = "what fails here fails a test")]

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

/// Base64 of any 32 bytes.
const KEY: &str = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=";
/// Time limit of a wait.
const PATIENCE: Duration = Duration::from_secs(30);

/// The binary, with an empty environment.
fn binary(folder: &TempDir) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_webhook-ingest"));
    command
        .env_clear()
        .env("DATABASE_URL", format!("sqlite:{}", folder.path().join("record.db").display()))
        .env("INGEST_LISTEN", "127.0.0.1:0")
        .env("INGEST_OPS_LISTEN", "127.0.0.1:0")
        // No broker listens there.
        .env("NATS_URL", "nats://127.0.0.1:1")
        .env("NATS_USER", "ingest")
        .env("NATS_PASSWORD", "p")
        .env("LOG_FORMAT", "json")
        .stderr(Stdio::piped());
    command
}

/// A process that is killed at the end of its test.
struct Running {
    child: Child,
    log: BufReader<ChildStderr>,
}

impl Running {
    fn start(mut command: Command) -> Self {
        let mut child = command.spawn().unwrap();
        let log = BufReader::new(child.stderr.take().unwrap());
        Self { child, log }
    }

    /// Reads the log up to a message. Returns the address in one of its fields.
    fn address(&mut self, message: &str, field: &str) -> SocketAddr {
        loop {
            let mut line = String::new();
            assert_ne!(self.log.read_line(&mut line).unwrap(), 0, "it ended before it said {message:?}");
            let line: Value = serde_json::from_str(&line).unwrap();
            if line["fields"]["message"] == message {
                return line["fields"][field].as_str().unwrap().parse().unwrap();
            }
        }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    fn exit_code(&mut self) -> Option<i32> {
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("it did not end");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It has ended already unless the test failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn without_a_telnyx_key_it_ends_with_2_and_names_the_variable() {
    for key in [None, Some(""), Some("c2hvcnQ="), Some("not base64")] {
        let folder = TempDir::new().unwrap();
        let mut command = binary(&folder);
        if let Some(key) = key {
            command.env("TELNYX_PUBLIC_KEY", key);
        }
        let output = command.output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{key:?}: {said}");
        assert!(said.contains("TELNYX_PUBLIC_KEY"), "{key:?}: {said}");
    }
}

#[tokio::test]
async fn it_becomes_ready_without_its_broker_and_ends_with_0_at_either_signal() {
    for signal in [Signal::TERM, Signal::INT] {
        let folder = TempDir::new().unwrap();
        let mut command = binary(&folder);
        command.env("TELNYX_PUBLIC_KEY", KEY);
        let mut running = Running::start(command);
        let ops = running.address("answering operators", "address");
        let webhooks = running.address("taking webhooks", "address");
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let readiness = async || {
            let response = client.get(format!("http://{ops}/readyz")).send().await.unwrap();
            (response.status(), response.text().await.unwrap())
        };
        let ready = async {
            while readiness().await.0 != 200 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, ready).await.unwrap();
        assert!(readiness().await.1.contains("degraded: nats"));
        let unsigned = client.post(format!("http://{webhooks}/webhooks/telnyx")).send().await.unwrap();
        assert_eq!(unsigned.status(), 401);
        let metrics = client.get(format!("http://{ops}/metrics")).send().await.unwrap().text().await.unwrap();
        assert!(
            metrics.contains("church_ingest_refusals_total{reason=\"signature_missing\"} 1"),
            "{metrics}"
        );
        running.signal(signal);
        assert_eq!(running.exit_code(), Some(0), "{signal:?}");
    }
}

#[test]
fn help_explains_every_setting() {
    let output =
        Command::new(env!("CARGO_BIN_EXE_webhook-ingest")).env_clear().arg("--help").output().unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    for variable in [
        "INGEST_LISTEN",
        "INGEST_OPS_LISTEN",
        "TELNYX_PUBLIC_KEY",
        "INGEST_QUEUE_BYTES",
        "DATABASE_URL",
        "NATS_URL",
        "LOG",
    ] {
        assert!(help.contains(&format!("[env: {variable}")), "{variable}\n{help}");
    }
}
