//! A second message-api beside a stack's own: same database and broker, own ports.

use deploy::ports::Port;
use deploy::processes::Processes;
use deploy::services;
use reqwest::RequestBuilder;
use serde_json::Value;
use uuid::Uuid;

use crate::eventually;
use crate::sending::send_request;
use crate::stack::{TestStack, id_of};

/// A running message-api. It ends when it is dropped.
pub struct MessageApi {
    name: String,
    processes: Processes,
    api: Port,
    ops: Port,
    http: reqwest::Client,
}

impl MessageApi {
    /// Starts one with the settings of the stack's own message-api, changed by `settings`.
    ///
    /// # Panics
    /// If it does not start.
    pub async fn start(stack: &TestStack, name: &str, settings: &[(&str, &str)]) -> Self {
        let state = stack.stack.state();
        let (api, ops) = (Port::free().expect("a free port"), Port::free().expect("a free port"));
        let program = stack.stack.wiring().message_api(api.number(), ops.number());
        let mut program = program.expect("message-api was built");
        name.clone_into(&mut program.name);
        program.environment.extend(stack.settings_of(services::API));
        let own = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        program.environment.extend(own);
        let mut processes = Processes::new(&state.join("logs")).expect("there is a folder for logs");
        processes.start(program).expect("it is run");
        let http = stack.http.clone();
        let it = Self { name: name.into(), processes, api, ops, http };
        it.until_ready().await;
        it
    }

    /// Its base URL.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.api.number())
    }

    /// The base URL of its operators' listener.
    pub fn ops_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.ops.number())
    }

    /// Kills it (SIGKILL).
    ///
    /// # Panics
    /// If it is not running.
    pub async fn kill(&mut self) {
        self.processes.kill(&self.name).await.expect("it runs");
    }

    /// Starts it again after it was killed.
    ///
    /// # Panics
    /// If it is running, or does not start.
    pub async fn restart(&mut self) {
        self.processes.restart(&self.name).expect("it is run again");
        self.until_ready().await;
    }

    /// Sends a text and returns the message's id.
    ///
    /// # Panics
    /// If it is not accepted.
    pub async fn send(&self, token: &str, phones: &[&str]) -> Uuid {
        let answer = self.request(token, None, phones).send().await.expect("message-api answers");
        assert_eq!(answer.status(), 201, "{answer:?}");
        id_of(&answer.json::<Value>().await.expect("the answer is JSON")["data"])
    }

    /// The request that sends a text, with an `Idempotency-Key` or without.
    pub fn request(&self, token: &str, key: Option<&str>, phones: &[&str]) -> RequestBuilder {
        send_request(&self.http, &self.url(), (token, key), phones)
    }

    async fn until_ready(&self) {
        let ops = self.ops_url();
        eventually(&format!("{} is ready", self.name), async || services::ready(&self.http, &ops).await.ok())
            .await;
    }
}
