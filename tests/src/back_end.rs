//! The product's own back end, as far as message-api calls it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::post;
use deploy::ports::Port;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::eventually;

/// The secret that a back end here expects.
pub const SECRET: &str = "a-secret-of-the-back-end";

/// A back end at a fixed address, which can be down.
pub struct BackEnd {
    port: Port,
    state: Arc<Mutex<Heard>>,
    serving: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Heard {
    /// The texts that it was told of, accepted or not.
    requests: Vec<Value>,
    /// The answers to the next requests; after them 204.
    answers: VecDeque<u16>,
    /// The answer to all other requests.
    usual: Option<u16>,
}

async fn take(State(state): State<Arc<Mutex<Heard>>>, headers: HeaderMap, body: String) -> Response {
    let authorization = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    if authorization != Some(&format!("Bearer {SECRET}")) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let mut heard = state.lock().unwrap_or_else(PoisonError::into_inner);
    heard.requests.push(serde_json::from_str(&body).expect("the body is JSON"));
    let status = heard.answers.pop_front().or(heard.usual).unwrap_or(204);
    match status {
        302 => Redirect::to("/elsewhere").into_response(),
        status => StatusCode::from_u16(status).expect("a status").into_response(),
    }
}

impl BackEnd {
    /// One that is down.
    ///
    /// # Panics
    /// No port is free.
    pub fn down() -> Self {
        Self { port: Port::free().expect("a free port"), state: Arc::default(), serving: None }
    }

    /// One that takes everything.
    ///
    /// # Panics
    /// It can't listen.
    pub async fn start() -> Self {
        let mut back_end = Self::down();
        back_end.up().await;
        back_end
    }

    /// Begins to listen.
    ///
    /// # Panics
    /// It can't.
    pub async fn up(&mut self) {
        let router = Router::new()
            .route("/inbound", post(take))
            .route("/elsewhere", post(async || StatusCode::NO_CONTENT).get(async || StatusCode::NO_CONTENT))
            .with_state(self.state.clone());
        let listener = eventually("the port is free again", async || {
            TcpListener::bind(("127.0.0.1", self.port.number())).await.ok()
        })
        .await;
        self.serving = Some(tokio::spawn(async move {
            let _ = axum::serve(listener, router).await;
        }));
    }

    /// Its base URL.
    pub fn base_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port.number())
    }

    /// `INBOUND_URL`.
    pub fn url(&self) -> String {
        format!("{}/inbound", self.base_url())
    }

    /// Answers the next requests with these statuses.
    pub fn answer_next(&self, statuses: &[u16]) {
        self.heard().answers.extend(statuses);
    }

    /// Answers all requests with this status from now on; `None` takes everything.
    pub fn answer_all(&self, status: Option<u16>) {
        self.heard().usual = status;
    }

    /// The texts that it was told of so far, also those that it refused.
    pub fn requests(&self) -> Vec<Value> {
        self.heard().requests.clone()
    }

    /// Waits until it was told of this many texts.
    ///
    /// # Panics
    /// It is not, in time.
    pub async fn until(&self, count: usize) -> Vec<Value> {
        eventually(&format!("the back end is told of {count} texts"), async || {
            Some(self.requests()).filter(|requests| requests.len() >= count)
        })
        .await
    }

    fn heard(&self) -> std::sync::MutexGuard<'_, Heard> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for BackEnd {
    fn drop(&mut self) {
        if let Some(serving) = &self.serving {
            serving.abort();
        }
    }
}
