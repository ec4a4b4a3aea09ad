//! A message-api with its own database and listener, and its clients.

use std::path::Path;
use std::time::Duration;

use clap::Parser as _;
use common::service::Context;
use common::store::{Store, StoreOptions};
use jsonwebtoken::{EncodingKey, Header};
use message_api::Settings;
use reqwest::{Response, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;
use time::OffsetDateTime;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::document;

const SECRET: &str = "0123456789abcdef0123456789abcdef";
/// Time limit of a wait.
const PATIENCE: Duration = Duration::from_secs(20);

/// A running message-api.
pub(crate) struct Api {
    pub base: String,
    pub context: Context,
    pub store: Store,
    pub folder: TempDir,
    running: JoinHandle<anyhow::Result<()>>,
    http: reqwest::Client,
}

impl Api {
    /// Starts it with a default sender, and waits until it is ready.
    pub(crate) async fn start(telnyx: &str) -> Self {
        Self::start_with(telnyx, &["--telnyx-from=+15550000000"]).await
    }

    pub(crate) async fn start_with(telnyx: &str, more: &[&str]) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), telnyx, more).await
    }

    pub(crate) async fn start_in(folder: TempDir, telnyx: &str, more: &[&str]) -> Self {
        let api = Self::launch(folder, "api.db", telnyx, more).await;
        api.is_serving().await;
        api
    }

    /// Starts it without waiting.
    pub(crate) async fn launch(folder: TempDir, database: &str, telnyx: &str, more: &[&str]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let database = folder.path().join(database);
        let (settings, context) = (settings(&database, telnyx, more), Context::new());
        let running = tokio::spawn(message_api::serve(settings, listener, context.clone()));
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        Self { base, context, store: store(&database), folder, running, http }
    }

    /// Waits until it is ready.
    pub(crate) async fn is_serving(&self) {
        let token = token("anybody", "u");
        let serves = async || self.get(&token, "/api/messages/history").await.0 == StatusCode::OK;
        eventually("the service serves", serves).await;
        assert!(self.context.health.report().0);
    }

    /// Stops it in order, and returns its folder.
    pub(crate) async fn stop(self) -> TempDir {
        self.context.shutdown.cancel();
        tokio::time::timeout(PATIENCE, self.running).await.unwrap().unwrap().unwrap();
        self.folder
    }

    pub(crate) async fn get(&self, token: &str, path: &str) -> (StatusCode, Value) {
        answer(self.http.get(format!("{}{path}", self.base)).bearer_auth(token).send().await.unwrap()).await
    }

    pub(crate) async fn send(&self, token: &str, body: &Value) -> (StatusCode, Value) {
        answer(self.post(token, None, body.to_string()).await).await
    }

    pub(crate) async fn post(
        &self,
        token: &str,
        key: Option<&str>,
        body: impl Into<reqwest::Body>,
    ) -> Response {
        let mut request = self.http.post(format!("{}/api/messages/send", self.base)).bearer_auth(token);
        if let Some(key) = key {
            request = request.header("Idempotency-Key", key);
        }
        request.header("content-type", "application/json").body(body).send().await.unwrap()
    }

    pub(crate) fn request(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        self.http.request(method.parse().unwrap(), format!("{}{path}", self.base))
    }

    /// Sends a text to phones and returns the message's id.
    pub(crate) async fn sent(&self, token: &str, phones: &[&str]) -> String {
        let (status, answer) = self.send(token, &message(phones)).await;
        assert_eq!(status, StatusCode::CREATED, "{answer}");
        answer["data"]["id"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn message(&self, token: &str, id: &str) -> Value {
        let (status, mut answer) = self.get(token, &format!("/api/messages/{id}")).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        answer["data"].take()
    }

    /// Waits until Telnyx's acceptance of a message is recorded.
    pub(crate) async fn accepted(&self, token: &str, id: &str) {
        eventually("the message is accepted", async || !self.message(token, id).await["sentAt"].is_null())
            .await;
    }

    /// Waits until the dispatcher has handled everything that was due before: sends two messages of another church, one
    /// after the other.
    pub(crate) async fn settle(&self) {
        let token = token("a-church-that-waits", "u");
        for _ in 0..2 {
            let id = self.sent(&token, &["+15559999999"]).await;
            self.accepted(&token, &id).await;
        }
    }
}

/// The answer's status and body, which the API's document must know.
async fn answer(response: Response) -> (StatusCode, Value) {
    let (status, path) = (response.status(), response.url().path().to_owned());
    let body = response.json().await.unwrap();
    assert!(
        document::allows(&path, status, &body),
        "docs/openapi.json does not know {status} at {path}: {body}"
    );
    (status, body)
}

/// The settings of a test, with a broker that is away.
fn settings(database: &Path, telnyx: &str, more: &[&str]) -> Settings {
    let mut arguments = vec![
        "message-api".to_owned(),
        "--telnyx-api-key=KEY-of-the-test".into(),
        format!("--telnyx-base-url={telnyx}"),
        "--public-webhook-url=https://hooks.example.org".into(),
        format!("--database-url=sqlite:{}", database.display()),
        "--nats-url=nats://127.0.0.1:1".into(),
        "--nats-user=message_api".into(),
        "--nats-password=none".into(),
        format!("--jwt-secret={SECRET}"),
        "--cors-origins=localhost".into(),
    ];
    if !more.iter().any(|argument| argument.starts_with("--send-rate")) {
        arguments.push("--send-rate=1000".into());
    }
    arguments.extend(more.iter().map(|argument| (*argument).to_owned()));
    Settings::try_parse_from(arguments).unwrap()
}

/// Another connection to the same database.
pub(crate) fn store(database: &Path) -> Store {
    let database_url = format!("sqlite:{}", database.display()).into();
    Store::new(&StoreOptions { database_url, database_connections: 2 }).unwrap()
}

/// A text to phones.
pub(crate) fn message(phones: &[&str]) -> Value {
    let recipients: Vec<_> = phones.iter().map(|phone| json!({"phone": phone})).collect();
    json!({"content": "Service is at ten", "recipients": recipients})
}

pub(crate) fn token(church: &str, user: &str) -> String {
    token_until(church, user, OffsetDateTime::now_utc().unix_timestamp() + 600)
}

pub(crate) fn token_until(church: &str, user: &str, exp: i64) -> String {
    let claims = json!({"userId": user, "churchId": church, "exp": exp});
    jsonwebtoken::encode(&Header::default(), &claims, &EncodingKey::from_secret(SECRET.as_bytes())).unwrap()
}

/// A church id of its own.
pub(crate) fn any_church() -> String {
    format!("church-{}", Uuid::now_v7())
}

/// Waits until the condition holds; fails after the time limit.
pub(crate) async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, waiting).await.is_ok(), "did not happen: {what}");
}
