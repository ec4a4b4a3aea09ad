//! webhook-ingest over real HTTP with a real SQLite database. This file is the harness; the tests are in the modules.
#![expect(clippy::unwrap_used, clippy::panic, reason = "what fails here fails a test")]

mod bodies;
mod limits;
mod recording;
mod signatures;

use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::Duration;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Parser as _;
use common::service::Context;
use common::status::MessageStatus;
use common::store::{Answer, AttemptId, Message, NewMessage, NewRecipient, Store};
use common::subject::ChurchId;
use serde_json::{Value, json};
use tempfile::TempDir;
use time::OffsetDateTime;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use uuid::Uuid;
use webhook_ingest::Settings;

/// The seed of Telnyx's key in these tests.
const SEED: [u8; 32] = [7; 32];
const PHONE: &str = "+15550000101";

fn key_pair(seed: [u8; 32]) -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&seed).unwrap()
}

fn public_key(seed: [u8; 32]) -> String {
    STANDARD.encode(key_pair(seed).public_key().as_ref())
}

/// Telnyx's two signature headers of a body, signed `offset` seconds from now.
fn signed(body: &[u8], offset: i64) -> [(&'static str, String); 2] {
    let timestamp = (OffsetDateTime::now_utc().unix_timestamp() + offset).to_string();
    let signature = key_pair(SEED).sign(&[timestamp.as_bytes(), b"|", body].concat());
    [("telnyx-timestamp", timestamp), ("telnyx-signature-ed25519", STANDARD.encode(signature))]
}

/// Waits until the condition holds; fails after twenty seconds.
async fn eventually(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let patience = tokio::time::timeout(Duration::from_secs(60), async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    patience.await.unwrap_or_else(|_| panic!("never: {what}"));
}

/// A running service with a database of its own.
struct Ingest {
    address: SocketAddr,
    client: reqwest::Client,
    context: Context,
    store: Store,
    attempts: Mutex<Vec<AttemptId>>,
    running: JoinHandle<anyhow::Result<()>>,
    _folder: TempDir,
}

/// An answer of the service.
#[derive(Debug, PartialEq)]
struct Answered {
    status: u16,
    body: Value,
    retry_after: Option<String>,
}

impl Answered {
    fn code(&self) -> (u16, &str) {
        (self.status, self.body["code"].as_str().unwrap_or_default())
    }
}

impl Ingest {
    async fn start() -> Self {
        Self::with(&[]).await
    }

    /// Starts it with further flags, and waits until it is ready.
    async fn with(flags: &[&str]) -> Self {
        let ingest = Self::on("record.db", flags).await;
        eventually("ready", async || ingest.context.health.report().0).await;
        ingest
    }

    /// Starts it with a database in a folder of its own, without waiting.
    async fn on(file: &str, flags: &[&str]) -> Self {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("record.db");
        if file != "record.db" {
            // The database file is a link into a folder that does not exist yet.
            std::os::unix::fs::symlink(folder.path().join(file), &path).unwrap();
        }
        let database = format!("sqlite:{}", path.display());
        let keys = format!("{},{}", public_key([1; 32]), public_key(SEED));
        let common = ["webhook-ingest", "--telnyx-public-key", &keys, "--database-url", &database];
        // No broker listens there; the tests don't need one.
        let nats = ["--nats-url", "nats://127.0.0.1:1", "--nats-user", "ingest", "--nats-password", "p"];
        let settings = Settings::try_parse_from(common.iter().chain(&nats).chain(flags)).unwrap();
        let (store, context) = (Store::new(&settings.store).unwrap(), Context::new());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let running = tokio::spawn(webhook_ingest::serve(listener, settings, context.clone()));
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        Self { address, client, context, store, attempts: Mutex::default(), running, _folder: folder }
    }

    async fn post_to(&self, path: &str, body: Vec<u8>, headers: &[(&'static str, String)]) -> Answered {
        let mut request = self.client.post(format!("http://{}{path}", self.address)).body(body);
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        let response = request.send().await.unwrap();
        Answered {
            status: response.status().as_u16(),
            retry_after: response
                .headers()
                .get("retry-after")
                .map(|value| value.to_str().unwrap().to_owned()),
            body: response.json().await.unwrap(),
        }
    }

    /// Posts a body as Telnyx does, which repeats what a busy machine did not answer in time.
    async fn post(&self, body: impl AsRef<[u8]>) -> Answered {
        let body = body.as_ref().to_vec();
        loop {
            let answered = self.post_to("/webhooks/telnyx", body.clone(), &signed(&body, 0)).await;
            if answered.code() != (503, "late") {
                return answered;
            }
        }
    }

    fn shows(&self, line: &str) -> bool {
        self.context.metrics.encode().lines().any(|shown| shown == line)
    }

    /// Records a message to some phones, and begins its attempts.
    async fn send(&self, phones: &[&str]) -> Sent {
        let church_id: ChurchId = "grace".parse().unwrap();
        let message = new_message(&church_id, phones);
        self.store.record_message(&message, None).await.unwrap();
        let attempts = self.store.begin_attempts(100, OffsetDateTime::now_utc()).await.unwrap();
        assert_eq!(attempts.len(), phones.len());
        self.attempts.lock().unwrap().extend(attempts.iter().map(|attempt| attempt.id));
        let recipients = message.recipients.iter().map(|recipient| recipient.id).collect();
        Sent { church_id, id: message.id, recipients }
    }

    /// Records that Telnyx accepted a recipient under an id.
    async fn accept(&self, recipient: Uuid, provider_id: &str) {
        let answer = Answer::Accepted { provider_id: provider_id.into() };
        let is_its = |attempt: &&AttemptId| attempt.recipient_id == recipient;
        let attempt = *self.attempts.lock().unwrap().iter().find(is_its).unwrap();
        self.store.record_answers(&[(attempt, answer)], OffsetDateTime::now_utc()).await.unwrap();
    }

    async fn message(&self, sent: &Sent) -> Message {
        self.store.message(&sent.church_id, sent.id).await.unwrap().unwrap()
    }

    /// Stops the service in order, and audits the database.
    async fn stop(self) {
        let audit = self.store.audit().await.unwrap();
        assert!(audit.is_sound(), "{audit:?}");
        self.context.shutdown.cancel();
        self.running.await.unwrap().unwrap();
    }
}

/// A message whose recipients were handed to Telnyx.
struct Sent {
    church_id: ChurchId,
    id: Uuid,
    recipients: Vec<Uuid>,
}

fn new_message(church_id: &ChurchId, phones: &[&str]) -> NewMessage {
    let recipient = |phone: &&str| NewRecipient {
        id: Uuid::now_v7(),
        phone: (*phone).into(),
        member_id: None,
        first_name: None,
        last_name: None,
    };
    NewMessage {
        id: Uuid::now_v7(),
        church_id: church_id.clone(),
        author_id: "pastor".into(),
        conversation_id: None,
        content: "Service at ten".into(),
        target_type: "individual".into(),
        media_urls: Vec::new(),
        from_number: Some("+15550000001".into()),
        messaging_profile_id: None,
        send_at: None,
        recipients: phones.iter().map(recipient).collect(),
        created_at: OffsetDateTime::now_utc(),
        trace_parent: None,
    }
}

/// A webhook with an event id of its own.
fn webhook(event_type: &str, status: &str, provider_id: &str) -> Value {
    json!({
        "data": {
            "event_type": event_type, "id": Uuid::now_v7(), "occurred_at": "2026-11-22T20:15:31.123+00:00",
            "record_type": "event",
            "payload": {
                "id": provider_id, "direction": "outbound", "type": "SMS", "text": "Service at ten", "errors": [],
                "to": [{"phone_number": PHONE, "carrier": "B", "line_type": "Wireless", "status": status}],
            },
        },
        "meta": {"attempt": 1, "delivered_to": "https://hooks.example.org/webhooks/telnyx"},
    })
}
