//! The operators' console, as a browser uses it.

use std::process::Stdio;

use reqwest::header::{COOKIE, HOST, ORIGIN, SET_COOKIE};
use reqwest::{RequestBuilder, Response};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Child;

use crate::eventually;
use crate::stack::TestStack;

/// A running console. Dropping it kills it.
pub struct Console {
    /// `http://127.0.0.1:port`.
    pub origin: String,
    /// The one-time token of the printed address.
    pub token: String,
    /// The session's cookie, once somebody has entered.
    pub cookie: String,
    /// The program.
    pub program: Child,
    http: reqwest::Client,
}

impl TestStack {
    /// Starts a console of this stack on a free port.
    ///
    /// # Panics
    /// If it does not start.
    pub async fn console(&self, options: &[&str]) -> Console {
        let arguments = [&["console", "--listen", "127.0.0.1:0"], options].concat();
        let mut command = self.ops_command(&arguments);
        let mut program = command.stdout(Stdio::piped()).kill_on_drop(true).spawn().expect("ops starts");
        let mut lines = BufReader::new(program.stdout.take().expect("it has an output")).lines();
        let line = lines.next_line().await.expect("its output can be read").expect("it prints its address");
        let address = line.split(' ').next_back().unwrap_or_default();
        let (origin, token) = address.split_once("/#").expect("an address with a token");
        let http = reqwest::Client::builder().no_proxy().build().expect("an HTTP client");
        Console { origin: origin.into(), token: token.into(), cookie: String::new(), program, http }
    }
}

impl Console {
    /// Exchanges the token for the cookie.
    ///
    /// # Panics
    /// If it is refused.
    pub async fn enter(mut self) -> Self {
        let answer = self.exchange(&self.token).await;
        assert_eq!(answer.status(), 204);
        let cookie = answer.headers()[SET_COOKIE].to_str().expect("text");
        self.cookie = cookie.split(';').next().unwrap_or_default().to_owned();
        self
    }

    /// Tries to exchange a token.
    ///
    /// # Panics
    /// If the console does not answer.
    pub async fn exchange(&self, token: &str) -> Response {
        let request = self.http.post(format!("{}/session", self.origin)).header(ORIGIN, &self.origin);
        request.json(&json!({ "token": token })).send().await.expect("the console answers")
    }

    /// A GET with the cookie.
    pub fn reading(&self, path: &str) -> RequestBuilder {
        self.http.get(format!("{}{path}", self.origin)).header(COOKIE, &self.cookie)
    }

    /// A POST with the cookie, as the page makes it.
    pub fn posting(&self, path: &str, body: &Value) -> RequestBuilder {
        let request = self.http.post(format!("{}{path}", self.origin)).header(COOKIE, &self.cookie);
        request.header(ORIGIN, &self.origin).json(body)
    }

    /// The same as another name of the machine.
    pub fn named(request: RequestBuilder, host: &str) -> RequestBuilder {
        request.header(HOST, host)
    }

    /// A report of the console.
    ///
    /// # Panics
    /// If there is none.
    pub async fn report(&self, path: &str) -> Value {
        let answer = self.reading(path).send().await.expect("the console answers");
        assert_eq!(answer.status(), 200, "{path}");
        let mut answer: Value = answer.json().await.expect("the answer is JSON");
        answer["report"].take()
    }

    /// Makes a change, and waits for its end.
    ///
    /// # Panics
    /// If it is refused or does not end.
    pub async fn change(&self, change: &Value) -> Value {
        let id = self.start(change).await;
        eventually("the work ended", async || {
            Some(self.work(id).await).filter(|work| work["state"] != "running")
        })
        .await
    }

    /// Starts a change. Gives the number of the work.
    ///
    /// # Panics
    /// If it is refused.
    pub async fn start(&self, change: &Value) -> u64 {
        let answer = self.posting("/api/changes", change).send().await.expect("the console answers");
        assert_eq!(answer.status(), 200, "{change}");
        let answer: Value = answer.json().await.expect("the answer is JSON");
        answer["work"].as_u64().expect("a number of work")
    }

    /// A piece of work.
    ///
    /// # Panics
    /// If there is none of this number.
    pub async fn work(&self, id: u64) -> Value {
        let works = self.report("/api/work").await;
        let mut works = works.as_array().expect("a list").iter();
        works.find(|work| work["id"] == id).expect("the work is remembered").clone()
    }
}
