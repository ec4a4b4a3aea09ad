//! A real gateway with a real broker, for tests that need no database and no other service.

use std::net::SocketAddr;
use std::time::Duration;

use common::subject::ChurchId;
use deploy::ports::Port;
use deploy::services::{self, Wiring};
use deploy::token;

use crate::announcer::Announcer;
use crate::broker::{self, TestBroker};
use crate::eventually;
use crate::load::usage;
use crate::stack::number;

/// The secret that signs tokens.
const SECRET: &str = "a-secret-of-tests-that-is-long-enough";
/// Longest duration of a request.
const LIMIT: Duration = Duration::from_secs(60);

/// A running gateway, ended when dropped. If its test fails, its folder with the logs is kept.
pub struct TestGateway {
    broker: TestBroker,
    nats_url: String,
    port: Port,
    ops_port: Port,
    http: reqwest::Client,
}

impl TestGateway {
    /// Starts a gateway with these environment variables and waits until it is ready.
    ///
    /// # Panics
    /// If it does not start.
    pub async fn start(environment: &[(&str, &str)]) -> Self {
        let broker = TestBroker::start().await;
        let url = broker.url();
        Self::start_at(broker, &url, environment).await
    }

    /// Starts a gateway that reaches its broker at this address, which may be a proxy's.
    ///
    /// # Panics
    /// If it does not start.
    pub async fn start_at(broker: TestBroker, nats_url: &str, environment: &[(&str, &str)]) -> Self {
        let http = reqwest::Client::builder().no_proxy().timeout(LIMIT).build().expect("an HTTP client");
        let (port, ops_port) = (Port::free().expect("a free port"), Port::free().expect("a free port"));
        let mut gateway = Self { broker, nats_url: nats_url.to_owned(), port, ops_port, http };
        gateway.run(environment).await;
        gateway
    }

    /// Kills it (SIGKILL) and starts it again with these environment variables.
    ///
    /// # Panics
    /// If it does not run, or does not start.
    pub async fn restart_with(&mut self, environment: &[(&str, &str)]) {
        self.broker.processes.kill(&services::gateway(1)).await.expect("the gateway runs");
        self.run(environment).await;
    }

    async fn run(&mut self, environment: &[(&str, &str)]) {
        let wiring = Wiring {
            jwt_secret: SECRET.into(),
            nats_url: self.nats_url.clone(),
            nats_ca_file: None,
            nats_passwords: broker::passwords(),
            database_url: String::new(),
            telnyx_url: String::new(),
            telnyx_api_key: String::new(),
            telnyx_public_key: String::new(),
            ingest_url: String::new(),
            recipients_url: String::new(),
            recipients_secret: String::new(),
            listen: std::net::Ipv4Addr::LOCALHOST.into(),
            cors_origins: vec!["localhost".into()],
        };
        let program = wiring.gateway(1, self.port.number(), self.ops_port.number());
        let mut program = program.expect("the gateway was built");
        let set = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        program.environment.extend(environment.iter().map(set));
        self.broker.processes.start(program).expect("the gateway starts");
        self.until_ready().await;
    }

    /// Waits until it is ready.
    ///
    /// # Panics
    /// If it does not become ready.
    pub async fn until_ready(&self) {
        let ops_url = self.ops_url();
        eventually("the gateway is ready", async || services::ready(&self.http, &ops_url).await.ok()).await;
    }

    /// Status and body of `/readyz`.
    ///
    /// # Panics
    /// If it does not answer.
    pub async fn readiness(&self) -> (u16, String) {
        let answer = self.http.get(format!("{}/readyz", self.ops_url())).send().await;
        let answer = answer.expect("it answers operators");
        (answer.status().as_u16(), answer.text().await.expect("it says something"))
    }

    /// Its broker.
    pub fn broker(&mut self) -> &mut TestBroker {
        &mut self.broker
    }

    /// The URL that browsers connect to.
    pub fn url(&self) -> String {
        format!("http://{}", self.address())
    }

    /// The address that browsers connect to.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port.number()))
    }

    /// An announcer, which publishes events to the stream as a relay does.
    ///
    /// # Panics
    /// If the broker is away.
    pub async fn announcer(&self) -> Announcer {
        Announcer::new(self.broker.client("ingest").await)
    }

    /// A token of a church's user with this validity from now on.
    ///
    /// # Panics
    /// If the church id is invalid.
    pub fn token(&self, church: &str, user: &str, valid: Duration) -> String {
        assert!(church.parse::<ChurchId>().is_ok(), "{church} is no church id");
        token::mint(SECRET, church, user, valid).expect("a token is made")
    }

    /// An HTTP client that ignores the machine's proxy settings.
    pub fn http(&self) -> &reqwest::Client {
        &self.http
    }

    /// The value of a metric; zero if the series does not exist.
    ///
    /// # Panics
    /// If it does not answer.
    pub async fn count(&self, name: &str) -> f64 {
        let answer = self.http.get(format!("{}/metrics", self.ops_url())).send().await;
        let metrics = answer.expect("it answers operators").text().await.expect("it has metrics");
        number(&metrics, name).unwrap_or(0.0)
    }

    /// Waits until a metric has this value.
    ///
    /// # Panics
    /// If it never has.
    pub async fn until_count(&self, name: &str, wanted: f64) {
        eventually(&format!("{name} is {wanted}"), async || (self.count(name).await == wanted).then_some(()))
            .await;
    }

    /// The process's peak memory in bytes; zero if the system does not report it.
    ///
    /// # Panics
    /// If it does not run.
    pub fn peak_memory(&mut self) -> u64 {
        let ids = self.broker.processes.ids();
        let gateway = ids.iter().find(|(name, _)| *name == services::gateway(1));
        usage::peak(gateway.expect("the gateway runs").1)
    }

    fn ops_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.ops_port.number())
    }
}
