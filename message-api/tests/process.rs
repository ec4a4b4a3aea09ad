//! The binary: it starts, says that it is well, and stops when it is told to.

#![expect(clippy::unwrap_used, reason = "a story ends where something is not as it tells")]

use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt as _, BufReader};
use tokio::process::{Child, Command};

const PATIENCE: Duration = Duration::from_secs(20);

/// The binary with a configuration that is complete, on free ports.
fn binary(folder: &std::path::Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_message-api"));
    command
        .env_clear()
        .envs([
            ("API_LISTEN", "127.0.0.1:0"),
            ("API_OPS_LISTEN", "127.0.0.1:0"),
            ("TELNYX_API_KEY", "KEY-of-the-test"),
            ("TELNYX_BASE_URL", "http://127.0.0.1:1"),
            ("PUBLIC_WEBHOOK_URL", "https://hooks.example.org"),
            ("NATS_URL", "nats://127.0.0.1:1"),
            ("NATS_USER", "message_api"),
            ("NATS_PASSWORD", "none"),
            ("JWT_SECRET", "0123456789abcdef0123456789abcdef"),
            ("LOG_FORMAT", "json"),
        ])
        .env("DATABASE_URL", format!("sqlite:{}", folder.join("api.db").display()))
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

async fn ended(child: &mut Child) -> ExitStatus {
    tokio::time::timeout(PATIENCE, child.wait()).await.unwrap().unwrap()
}

/// Reads the log up to the line with a message, and gives one of its fields.
async fn field(log: &mut (impl AsyncBufReadExt + Unpin), message: &str, name: &str) -> String {
    let reading = async {
        loop {
            let mut line = String::new();
            assert!(log.read_line(&mut line).await.unwrap() > 0, "the log ended before {message:?}");
            let line: Value = serde_json::from_str(&line).unwrap();
            if line["fields"]["message"] == message {
                return line["fields"][name].as_str().unwrap().to_owned();
            }
        }
    };
    tokio::time::timeout(PATIENCE, reading).await.unwrap()
}

#[tokio::test]
async fn it_starts_without_a_broker_is_ready_and_stops_with_exit_code_0() {
    for signal in [Signal::TERM, Signal::INT] {
        let folder = tempfile::tempdir().unwrap();
        let mut child = binary(folder.path()).spawn().unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let ops = field(&mut log, "starting", "ops").await;
        field(&mut log, "listening", "listen").await;
        let ready = async {
            loop {
                let response = reqwest::get(format!("http://{ops}/readyz")).await.unwrap();
                let (status, text) = (response.status(), response.text().await.unwrap());
                if status.is_success() && text.contains("degraded: nats") {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(PATIENCE, ready).await.unwrap();
        kill_process(Pid::from_raw(child.id().unwrap() as i32).unwrap(), signal).unwrap();
        // Whoever writes to a log that nobody reads would wait.
        let mut rest = String::new();
        tokio::time::timeout(PATIENCE, log.read_to_string(&mut rest)).await.unwrap().unwrap();
        assert_eq!(ended(&mut child).await.code(), Some(0), "{rest}");
    }
}

#[tokio::test]
async fn a_wrong_configuration_ends_with_exit_code_2_and_names_the_variable() {
    for (variable, value) in [
        ("JWT_SECRET", "short"),
        ("TELNYX_FROM", "5551230000"),
        ("TELNYX_BASE_URL", "api.telnyx.com"),
        ("PUBLIC_WEBHOOK_URL", "nowhere"),
        ("DATABASE_URL", "mysql://x"),
        ("CORS_ORIGINS", "app.example.org"),
        ("JWT_PUBLIC_KEY_FILE", "key.pem"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let output = binary(folder.path()).env(variable, value).output();
        let output = tokio::time::timeout(PATIENCE, output).await.unwrap().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{variable}: {said}");
        assert!(said.contains(variable), "{variable}: {said}");
    }
}
