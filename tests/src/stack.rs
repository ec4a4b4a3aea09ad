//! The whole suite in a folder of its own: the real binaries, broker and database, and the Telnyx simulator.

use std::net::SocketAddr;
use std::time::Duration;

use async_nats::jetstream::message::StreamMessage;
use common::event::ChurchEvent;
use common::store::{Audit, Store};
use common::subject::{ChurchId, STREAM};
use deploy::ops::stream::{Limits, provision};
use deploy::ports::Ports;
use deploy::scratch::Scratch;
use deploy::simulator::{Entry, InboundDelivery, InboundText, Pace, Simulator};
use deploy::stack::{Database, Stack, StackOptions};
use deploy::traffic;
use jsonwebtoken::{EncodingKey, Header};
use reqwest::Response;
use serde_json::Value;
use uuid::Uuid;

use crate::announcer::Announcer;
use crate::client::Client;
use crate::databases::{self, Kind};
use crate::eventually;
use crate::load::http;
use crate::report::Report;

/// Validity of tokens in the stories.
const LONG: Duration = Duration::from_secs(3600);

/// A running stack. Dropping it ends and removes all of it.
pub struct TestStack {
    /// The stack itself, for stories that stop or kill its processes.
    pub stack: Stack,
    pub(crate) http: reqwest::Client,
    settings: Vec<(String, String, String)>,
    _folder: Scratch,
}

impl TestStack {
    /// Starts a stack with one gateway and a Telnyx that is faster than the real one.
    ///
    /// # Panics
    /// If it does not start.
    pub async fn start(kind: Kind) -> Self {
        Self::start_with(kind, |_| {}).await
    }

    /// Starts a stack with other options.
    ///
    /// # Panics
    /// If it does not start.
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
            // A webhook that a busy machine answers too late has attempts left.
            back_off: Duration::from_secs(3),
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
    /// If it was stopped.
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
    /// If the church id is invalid.
    pub fn token(&self, church: &str, user: &str) -> String {
        self.stack.token(church, user, LONG).expect("a token is made")
    }

    /// A user's browser, connected to the first gateway.
    ///
    /// # Panics
    /// If it is not let in.
    pub async fn client(&self, church: &str, user: &str) -> Client {
        self.client_at(&self.stack.file().gateways[0], church, user).await
    }

    /// A user's browser, connected to this address.
    ///
    /// # Panics
    /// If it is not let in.
    pub async fn client_at(&self, url: &str, church: &str, user: &str) -> Client {
        let mut client = Client::start(url, &self.token(church, user), &[]).await;
        client.until("connected").await;
        client
    }

    /// The address of the gateway with this index.
    ///
    /// # Panics
    /// If there is no such gateway.
    pub fn gateway_address(&self, number: usize) -> SocketAddr {
        http::address_of(&self.stack.file().gateways[number]).expect("an address and a port")
    }

    /// A signed token with these claims.
    ///
    /// # Panics
    /// If it can't be signed.
    pub fn token_with(&self, claims: &Value) -> String {
        let key = EncodingKey::from_secret(self.stack.file().jwt_secret.as_bytes());
        jsonwebtoken::encode(&Header::default(), claims, &key).expect("a token is signed")
    }

    /// Sends a text as a user. Returns the message's id.
    ///
    /// # Panics
    /// If it is not accepted.
    pub async fn send(&self, church: &str, user: &str, phones: &[&str]) -> Uuid {
        let (api, token) = (&self.stack.file().api, self.token(church, user));
        let sent = traffic::send(&self.http, api, &token, "Service at ten", phones).await;
        id_of(&sent.expect("the message is accepted"))
    }

    /// Sends a GET to message-api as a user. Returns status and body.
    ///
    /// # Panics
    /// If it does not answer.
    pub async fn get(&self, church: &str, user: &str, path: &str) -> (u16, Value) {
        let url = format!("{}{path}", self.stack.file().api);
        let request = self.http.get(url).bearer_auth(self.token(church, user));
        let answer = request.send().await.expect("message-api answers");
        (answer.status().as_u16(), answer.json().await.expect("the answer is JSON"))
    }

    /// A message with its recipients, as message-api returns it.
    ///
    /// # Panics
    /// If there is none.
    pub async fn message(&self, church: &str, id: Uuid) -> Value {
        let (status, mut body) = self.get(church, "reader", &format!("/api/messages/{id}")).await;
        assert_eq!(status, 200, "{body}");
        body["data"].take()
    }

    /// Waits until a message has this status.
    ///
    /// # Panics
    /// If it does not have it in time.
    pub async fn until_status(&self, church: &str, id: Uuid, status: &str) -> Value {
        eventually(&format!("message {id} is {status}"), async || {
            Some(self.message(church, id).await).filter(|message| message["status"] == status)
        })
        .await
    }

    /// Waits until Telnyx has accepted this many messages. Returns all entries of its book.
    ///
    /// # Panics
    /// If it does not in time.
    pub async fn until_accepted(&self, count: usize) -> Vec<Entry> {
        eventually(&format!("Telnyx accepted {count} messages"), async || {
            let entries = self.telnyx().entries();
            (entries.iter().filter(|entry| entry.accepted).count() >= count).then_some(entries)
        })
        .await
    }

    /// Posts a signed webhook.
    ///
    /// # Panics
    /// If webhook-ingest does not answer.
    pub async fn report(&self, report: &Report) -> Response {
        let url = format!("{}/webhooks/telnyx", self.stack.file().ingest);
        let request = report.request(self.http.post(url), self.telnyx().signer());
        request.send().await.expect("webhook-ingest answers")
    }

    /// Status and body of a service's `/readyz`.
    ///
    /// # Panics
    /// If it does not answer.
    pub async fn readiness(&self, ops_url: &str) -> (u16, String) {
        let answer = self.http.get(format!("{ops_url}/readyz")).send().await.expect("it answers operators");
        (answer.status().as_u16(), answer.text().await.expect("it says something"))
    }

    /// The value of a service's metric.
    ///
    /// # Panics
    /// If it has none of this name.
    pub async fn metric(&self, ops_url: &str, name: &str) -> f64 {
        let metrics = self.metrics(ops_url).await;
        number(&metrics, name).unwrap_or_else(|| panic!("no {name} in\n{metrics}"))
    }

    /// The value of a service's counter; zero if the series does not exist.
    ///
    /// # Panics
    /// If it does not answer.
    pub async fn count(&self, ops_url: &str, name: &str) -> f64 {
        number(&self.metrics(ops_url).await, name).unwrap_or(0.0)
    }

    /// All metrics that a service exports.
    ///
    /// # Panics
    /// If it does not answer.
    pub async fn metrics(&self, ops_url: &str) -> String {
        let answer = self.http.get(format!("{ops_url}/metrics")).send().await.expect("it answers operators");
        answer.text().await.expect("it has metrics")
    }

    /// An announcer, which publishes events to the stream as a relay does, without the database.
    ///
    /// # Panics
    /// If the broker is away.
    pub async fn announcer(&self) -> Announcer {
        Announcer::new(self.stack.nats("ingest").await.expect("the broker accepts ingest"))
    }

    /// Somebody sends a text. Returns once webhook-ingest has answered.
    ///
    /// # Panics
    /// If the simulator was stopped.
    pub async fn receive(&self, from: &str, to: &str, text: &str) -> InboundDelivery {
        let webhook_url = format!("{}/webhooks/telnyx", self.stack.file().ingest);
        let text = InboundText {
            from: from.into(),
            to: to.into(),
            text: text.into(),
            webhook_url,
            ..InboundText::default()
        };
        self.telnyx().receive(text).await
    }

    /// The audit of the database.
    ///
    /// # Panics
    /// If the database is away.
    pub async fn audit(&self) -> Audit {
        self.store().audit().await.expect("the audit can be read")
    }

    /// A store on the stack's database.
    ///
    /// # Panics
    /// If the URL is wrong.
    pub fn store(&self) -> Store {
        databases::Database::named(&self.stack.file().database)
    }

    /// A church's events about messages in the stream, oldest first. Fails if a sequence is missing.
    ///
    /// # Panics
    /// If the stream can't be read.
    pub async fn stored(&self, church: &str) -> Vec<ChurchEvent> {
        let church: ChurchId = church.parse().expect("a church id");
        let messages = self.stream().await.into_iter();
        let is_news = |message: &StreamMessage| !message.subject.ends_with(".received");
        let events = messages.filter(is_news).map(|message| serde_json::from_slice(&message.payload));
        events
            .map(|event| event.expect("an event"))
            .filter(|event: &ChurchEvent| event.church_id == church)
            .collect()
    }

    /// All messages in the stream, oldest first. Fails if a sequence is missing.
    ///
    /// # Panics
    /// If the stream can't be read.
    pub async fn stream(&self) -> Vec<StreamMessage> {
        let client = self.stack.nats("ops").await.expect("the broker accepts ops");
        let stream = async_nats::jetstream::new(client).get_stream(STREAM).await.expect("there is a stream");
        let state = &stream.cached_info().state;
        let mut messages = Vec::new();
        for sequence in state.first_sequence..=state.last_sequence {
            messages.push(stream.get_raw_message(sequence).await.expect("nothing is missing in the stream"));
        }
        messages
    }

    /// Waits until the outbox is empty.
    ///
    /// # Panics
    /// If it does not become empty.
    pub async fn until_announced(&self) {
        let store = self.store();
        eventually("the outbox is in the stream", async || {
            let waiting = store.waiting_events(1).await.expect("the outbox can be read");
            waiting.is_empty().then_some(())
        })
        .await;
    }

    /// Kills the broker, deletes its storage and starts an empty one.
    ///
    /// # Panics
    /// If it does not start.
    pub async fn wipe_broker(&mut self) {
        self.stack.kill(deploy::nats::NAME).await.expect("the broker runs");
        std::fs::remove_dir_all(self.stack.state().join("nats")).expect("the broker's storage is there");
        self.stack.start_broker().await.expect("the broker starts");
        let provisioner = self.stack.nats("provisioner").await.expect("the broker accepts the provisioner");
        provision(provisioner, &Limits::default()).await.expect("the stream is made");
    }
}

/// The value of the metric with this name and these labels.
pub(crate) fn number(metrics: &str, name: &str) -> Option<f64> {
    metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?.parse().ok()
}

/// The message id in an answer of message-api.
///
/// # Panics
/// If there is none.
pub fn id_of(message: &Value) -> Uuid {
    message["id"].as_str().and_then(|id| id.parse().ok()).unwrap_or_else(|| panic!("no id in {message}"))
}
