//! The whole suite in a folder of its own: the real binaries, a real broker, a real database, the Telnyx simulator.

use std::net::SocketAddr;
use std::time::Duration;

use common::event::ChurchEvent;
use common::store::{Audit, Store};
use common::subject::{ChurchId, STREAM};
use deploy::installation::Database;
use deploy::ports::Ports;
use deploy::provision::{Limits, provision};
use deploy::scratch::Scratch;
use deploy::simulator::{Entry, Pace, Simulator};
use deploy::stack::{Stack, StackOptions};
use deploy::traffic;
use jsonwebtoken::{EncodingKey, Header};
use reqwest::Response;
use serde_json::{Value, json};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::announcer::Announcer;
use crate::client::Client;
use crate::databases::{self, Kind};
use crate::eventually;
use crate::load::http;

/// How long tokens of the stories are valid.
const LONG: Duration = Duration::from_secs(3600);

/// A running stack; all of it is gone when dropped.
pub struct TestStack {
    /// The stack itself, for stories in which its processes end.
    pub stack: Stack,
    pub(crate) http: reqwest::Client,
    settings: Vec<(String, String, String)>,
    _folder: Scratch,
}

impl TestStack {
    /// One gateway, and a Telnyx that is quicker than the real one.
    ///
    /// # Panics
    /// It does not start.
    pub async fn start(kind: Kind) -> Self {
        Self::start_with(kind, |_| {}).await
    }

    /// With other options.
    ///
    /// # Panics
    /// It does not start.
    pub async fn start_with(kind: Kind, choose: impl FnOnce(&mut StackOptions)) -> Self {
        let folder = databases::folder();
        let mut options = StackOptions::new(folder.path());
        options.ports = Ports::Free;
        options.database = Some(match kind {
            Kind::Sqlite => Database::Sqlite,
            Kind::Postgres => Database::Postgres,
        });
        options.pace = Pace {
            sent: Duration::from_millis(20),
            finalized: Duration::from_millis(60),
            read: Duration::from_millis(60),
            ..Pace::default()
        };
        choose(&mut options);
        let settings = options.environment.clone();
        let stack = Stack::start(options).await.expect("the stack starts");
        let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(30)).build();
        Self { stack, http: http.expect("an HTTP client"), settings, _folder: folder }
    }

    /// The Telnyx simulator.
    ///
    /// # Panics
    /// It was stopped.
    pub fn telnyx(&self) -> &Simulator {
        self.stack.simulator().expect("the simulator runs")
    }

    /// The settings that a service was started with besides its usual ones.
    pub(crate) fn settings_of(&self, service: &str) -> impl Iterator<Item = (String, String)> {
        let own = self.settings.iter().filter(move |(of, ..)| of == service);
        own.map(|(_, name, value)| (name.clone(), value.clone()))
    }

    /// A user's token.
    ///
    /// # Panics
    /// The church id is none.
    pub fn token(&self, church: &str, user: &str) -> String {
        self.stack.token(church, user, LONG).expect("a token is made")
    }

    /// A user's browser at the first gateway, connected.
    ///
    /// # Panics
    /// It is not let in.
    pub async fn client(&self, church: &str, user: &str) -> Client {
        self.client_at(&self.stack.file().gateways[0], church, user).await
    }

    /// A user's browser at an address, connected.
    ///
    /// # Panics
    /// It is not let in.
    pub async fn client_at(&self, url: &str, church: &str, user: &str) -> Client {
        let mut client = Client::start(url, &self.token(church, user), &[]).await;
        client.until("connected").await;
        client
    }

    /// Where a gateway listens.
    ///
    /// # Panics
    /// There is no such gateway.
    pub fn gateway_address(&self, number: usize) -> SocketAddr {
        http::address_of(&self.stack.file().gateways[number]).expect("an address and a port")
    }

    /// A token with these claims.
    ///
    /// # Panics
    /// It can't be signed.
    pub fn token_with(&self, claims: &Value) -> String {
        let key = EncodingKey::from_secret(self.stack.file().jwt_secret.as_bytes());
        jsonwebtoken::encode(&Header::default(), claims, &key).expect("a token is signed")
    }

    /// A user sends a text; gives the message's id.
    ///
    /// # Panics
    /// It is not accepted.
    pub async fn send(&self, church: &str, user: &str, phones: &[&str]) -> Uuid {
        let (api, token) = (&self.stack.file().api, self.token(church, user));
        let sent = traffic::send(&self.http, api, &token, "Service at ten", phones).await;
        id_of(&sent.expect("the message is accepted"))
    }

    /// A user asks message-api: status and body.
    ///
    /// # Panics
    /// It does not answer.
    pub async fn get(&self, church: &str, user: &str, path: &str) -> (u16, Value) {
        let url = format!("{}{path}", self.stack.file().api);
        let request = self.http.get(url).bearer_auth(self.token(church, user));
        let answer = request.send().await.expect("message-api answers");
        (answer.status().as_u16(), answer.json().await.expect("the answer is JSON"))
    }

    /// A message with its recipients, as message-api shows it to the church.
    ///
    /// # Panics
    /// There is none.
    pub async fn message(&self, church: &str, id: Uuid) -> Value {
        let (status, mut body) = self.get(church, "reader", &format!("/api/messages/{id}")).await;
        assert_eq!(status, 200, "{body}");
        body["data"].take()
    }

    /// Waits until a message has a status.
    ///
    /// # Panics
    /// It does not get it.
    pub async fn until_status(&self, church: &str, id: Uuid, status: &str) -> Value {
        eventually(&format!("message {id} is {status}"), async || {
            Some(self.message(church, id).await).filter(|message| message["status"] == status)
        })
        .await
    }

    /// Waits until Telnyx took so many messages, and gives all that it was asked.
    ///
    /// # Panics
    /// It is not asked.
    pub async fn until_accepted(&self, count: usize) -> Vec<Entry> {
        eventually(&format!("Telnyx took {count} messages"), async || {
            let entries = self.telnyx().entries();
            (entries.iter().filter(|entry| entry.accepted).count() >= count).then_some(entries)
        })
        .await
    }

    /// Posts a signed webhook of our own.
    ///
    /// # Panics
    /// webhook-ingest does not answer.
    pub async fn report(&self, report: &Report) -> Response {
        let (body, url) = (report.body(), format!("{}/webhooks/telnyx", self.stack.file().ingest));
        let now = OffsetDateTime::now_utc().unix_timestamp();
        let mut request = self.http.post(url).header("content-type", "application/json");
        for (name, value) in self.telnyx().signer().headers(now, body.as_bytes()) {
            request = request.header(name, value);
        }
        request.body(body).send().await.expect("webhook-ingest answers")
    }

    /// What a service says at `/readyz`.
    ///
    /// # Panics
    /// It does not answer.
    pub async fn readiness(&self, ops_url: &str) -> (u16, String) {
        let answer = self.http.get(format!("{ops_url}/readyz")).send().await.expect("it answers operators");
        (answer.status().as_u16(), answer.text().await.expect("it says something"))
    }

    /// A number of a service's metrics.
    ///
    /// # Panics
    /// It has none of this name.
    pub async fn metric(&self, ops_url: &str, name: &str) -> f64 {
        let metrics = self.metrics(ops_url).await;
        number(&metrics, name).unwrap_or_else(|| panic!("no {name} in\n{metrics}"))
    }

    /// How often a service has counted something. What it never counted need not be among its metrics.
    ///
    /// # Panics
    /// It does not answer.
    pub async fn count(&self, ops_url: &str, name: &str) -> f64 {
        number(&self.metrics(ops_url).await, name).unwrap_or(0.0)
    }

    pub(crate) async fn metrics(&self, ops_url: &str) -> String {
        let answer = self.http.get(format!("{ops_url}/metrics")).send().await.expect("it answers operators");
        answer.text().await.expect("it has metrics")
    }

    /// Puts events into the stream as a relay does, past the record.
    ///
    /// # Panics
    /// The broker is away.
    pub async fn announcer(&self) -> Announcer {
        Announcer::new(self.stack.nats("ingest").await.expect("the broker takes ingest"))
    }

    /// The books.
    ///
    /// # Panics
    /// The database is away.
    pub async fn audit(&self) -> Audit {
        self.store().audit().await.expect("the books can be read")
    }

    /// The record, as a service has it.
    ///
    /// # Panics
    /// The URL is wrong.
    pub fn store(&self) -> Store {
        databases::Database::named(&self.stack.file().database)
    }

    /// A church's events in the stream, oldest first.
    ///
    /// # Panics
    /// The stream can't be read.
    pub async fn stored(&self, church: &str) -> Vec<ChurchEvent> {
        let church: ChurchId = church.parse().expect("a church id");
        let client = self.stack.nats("ops").await.expect("the broker takes ops");
        let stream = async_nats::jetstream::new(client).get_stream(STREAM).await.expect("there is a stream");
        let state = &stream.cached_info().state;
        let mut events = Vec::new();
        for sequence in state.first_sequence..=state.last_sequence {
            let message = stream.get_raw_message(sequence).await.expect("nothing is missing in the stream");
            let event: ChurchEvent = serde_json::from_slice(&message.payload).expect("an event");
            events.extend(Some(event).filter(|event| event.church_id == church));
        }
        events
    }

    /// Waits until the whole outbox is in the stream.
    ///
    /// # Panics
    /// It is not.
    pub async fn until_announced(&self) {
        let store = self.store();
        eventually("the outbox is in the stream", async || {
            let waiting = store.waiting_events(1).await.expect("the outbox can be read");
            waiting.is_empty().then_some(())
        })
        .await;
    }

    /// Ends the broker, throws its storage away, and starts an empty one.
    ///
    /// # Panics
    /// It does not start.
    pub async fn wipe_broker(&mut self) {
        self.stack.kill(deploy::nats::NAME).await.expect("the broker runs");
        std::fs::remove_dir_all(self.stack.state().join("nats")).expect("the broker's storage is there");
        self.stack.start_broker().await.expect("the broker starts");
        let provisioner = self.stack.nats("provisioner").await.expect("the broker takes the provisioner");
        provision(provisioner, &Limits::default()).await.expect("the stream is made");
    }
}

/// The value of a line of metrics.
pub(crate) fn number(metrics: &str, name: &str) -> Option<f64> {
    metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?.parse().ok()
}

/// What a webhook of our own says of a message that Telnyx took.
#[derive(Debug, Clone)]
pub struct Report {
    /// Telnyx's id of the event; the same for repetitions.
    pub event_id: Uuid,
    event_type: &'static str,
    status: &'static str,
    provider_id: Uuid,
    to: String,
    webhook_url: Option<String>,
}

impl Report {
    /// A fresh event about an entry of the simulator's book; the status is Telnyx's word.
    pub fn of(entry: &Entry, status: &'static str) -> Self {
        Self {
            event_id: Uuid::now_v7(),
            event_type: match status {
                "sent" => "message.sent",
                "read" => "message.read",
                _ => "message.finalized",
            },
            status,
            provider_id: entry.id,
            to: entry.to.clone(),
            webhook_url: entry.webhook_url().map(str::to_owned),
        }
    }

    fn body(&self) -> String {
        let error = json!({"code": "40008", "title": "Undeliverable"});
        json!({
            "data": {
                "event_type": self.event_type,
                "id": self.event_id,
                "occurred_at": common::event::timestamp::to_text(OffsetDateTime::now_utc()),
                "record_type": "event",
                "payload": {
                    "direction": "outbound",
                    "id": self.provider_id,
                    "to": [{"phone_number": self.to, "status": self.status}],
                    "webhook_url": self.webhook_url,
                    "errors": if self.status == "delivery_failed" { vec![error] } else { vec![] },
                },
            },
            "meta": {"attempt": 1},
        })
        .to_string()
    }
}

/// The id of a message in one of message-api's answers.
///
/// # Panics
/// There is none.
pub fn id_of(message: &Value) -> Uuid {
    message["id"].as_str().and_then(|id| id.parse().ok()).unwrap_or_else(|| panic!("no id in {message}"))
}
