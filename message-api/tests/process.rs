//! The binary: how it starts, becomes ready, and stops.

#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "a story ends where something is not as it tells")]

use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jsonwebtoken::{EncodingKey, Header};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt as _, BufReader};
use tokio::process::{Child, Command};

const SECRET: &str = "0123456789abcdef0123456789abcdef";
const PATIENCE: Duration = Duration::from_secs(20);

/// The binary with a complete configuration, on free ports.
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
            ("JWT_SECRET", SECRET),
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

/// Waits until the condition holds.
async fn eventually(mut holds: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap();
}

/// Reads the log up to the line with this message. Returns one of its fields.
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
async fn without_a_broker_it_becomes_ready_and_stops_with_exit_code_0() {
    for signal in [Signal::TERM, Signal::INT] {
        let folder = tempfile::tempdir().unwrap();
        let mut child = binary(folder.path()).spawn().unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let ops = field(&mut log, "answering operators", "address").await;
        field(&mut log, "listening", "address").await;
        eventually(async || {
            let response = reqwest::get(format!("http://{ops}/readyz")).await.unwrap();
            response.status().is_success() && response.text().await.unwrap().contains("degraded: nats")
        })
        .await;
        kill_process(Pid::from_raw(child.id().unwrap() as i32).unwrap(), signal).unwrap();
        // The process would block on a pipe that is not read.
        let mut rest = String::new();
        tokio::time::timeout(PATIENCE, log.read_to_string(&mut rest)).await.unwrap().unwrap();
        assert_eq!(ended(&mut child).await.code(), Some(0), "{rest}");
    }
}

#[tokio::test]
async fn no_log_contains_a_token_a_number_or_a_text() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = binary(folder.path());
    let mut child = command.env("LOG", "trace").env("TELNYX_FROM", "+15550000000").spawn().unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap());
    let api = field(&mut log, "listening", "address").await;
    // Read all the time: the process would block on a pipe that is not read.
    let said = Arc::new(Mutex::new(String::new()));
    let reading = tokio::spawn({
        let said = said.clone();
        async move {
            let mut lines = log.lines();
            while let Some(line) = lines.next_line().await.unwrap() {
                said.lock().unwrap().push_str(&(line + "\n"));
            }
        }
    });
    let claims = json!({"userId": "u", "churchId": "grace", "exp": 4_000_000_000_u64});
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    let token = jsonwebtoken::encode(&Header::default(), &claims, &key).unwrap();
    let right = json!({"content": "A-secret-text", "recipients": [{"phone": "+15551230101"}]});
    let wrong = json!({"content": "A-secret-text", "recipients": [{"phone": "15551230101"}], "sendAt": 7});
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let url = format!("http://{api}/api/messages/send");
    let post = async |body: &Value| {
        http.post(&url).bearer_auth(&token).json(body).send().await.unwrap().status().as_u16()
    };
    eventually(async || post(&right).await == 201).await;
    assert_eq!(post(&wrong).await, 422);
    eventually(async || said.lock().unwrap().contains("Telnyx did not accept")).await;
    kill_process(Pid::from_raw(child.id().unwrap() as i32).unwrap(), Signal::TERM).unwrap();
    assert_eq!(ended(&mut child).await.code(), Some(0));
    reading.await.unwrap();
    let text = said.lock().unwrap().clone();
    // Recorded, tried and refused: the log has all three, without text and number.
    for said in ["recorded a message", "Telnyx did not accept", "a request was refused"] {
        assert!(text.contains(said), "{said:?} is not in:\n{text}");
    }
    for secret in ["A-secret-text", "5551230101", token.as_str(), "KEY-of-the-test", SECRET] {
        assert!(!text.contains(secret), "{secret:?} is in:\n{text}");
    }
}
