//! A real gateway at a real broker, for tests that need no more of a stack.

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

/// What tokens are signed with.
const SECRET: &str = "a-secret-of-tests-that-is-long-enough";
/// How long a request may take.
const LIMIT: Duration = Duration::from_secs(60);

/// A running gateway; gone when dropped. When its test fails, its folder with the logs stays.
pub struct TestGateway {
    broker: TestBroker,
    port: Port,
    ops_port: Port,
    http: reqwest::Client,
}

impl TestGateway {
    /// Starts one with these variables set, and waits until it is ready.
    ///
    /// # Panics
    /// It does not start.
    pub async fn start(environment: &[(&str, &str)]) -> Self {
        let broker = TestBroker::start().await;
        let url = broker.url();
        Self::start_at(broker, &url, environment).await
    }

    /// Starts one that reaches its broker at this address, which may be a proxy's.
    ///
    /// # Panics
    /// It does not start.
    pub async fn start_at(broker: TestBroker, nats_url: &str, environment: &[(&str, &str)]) -> Self {
        let http = reqwest::Client::builder().no_proxy().timeout(LIMIT).build().expect("an HTTP client");
        let (port, ops_port) = (Port::free().expect("a free port"), Port::free().expect("a free port"));
        let wiring = Wiring {
            jwt_secret: SECRET.into(),
            nats_url: nats_url.to_owned(),
            nats_passwords: broker::passwords(),
            database_url: String::new(),
            telnyx_url: String::new(),
            telnyx_api_key: String::new(),
            telnyx_public_key: String::new(),
            ingest_url: String::new(),
            listen: std::net::Ipv4Addr::LOCALHOST.into(),
            cors_origins: vec!["localhost".into()],
        };
        let program = wiring.gateway(1, port.number(), ops_port.number());
        let mut program = program.expect("the gateway was built");
        let set = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        program.environment.extend(environment.iter().map(set));
        let mut gateway = Self { broker, port, ops_port, http };
        gateway.broker.processes.start(program).expect("the gateway starts");
        gateway.until_ready().await;
        gateway
    }

    /// Waits until it is ready.
    ///
    /// # Panics
    /// It is not.
    pub async fn until_ready(&self) {
        let ops_url = self.ops_url();
        eventually("the gateway is ready", async || services::ready(&self.http, &ops_url).await.ok()).await;
    }

    /// What it says at `/readyz`.
    ///
    /// # Panics
    /// It does not answer.
    pub async fn readiness(&self) -> (u16, String) {
        let answer = self.http.get(format!("{}/readyz", self.ops_url())).send().await;
        let answer = answer.expect("it answers operators");
        (answer.status().as_u16(), answer.text().await.expect("it says something"))
    }

    /// Its broker.
    pub fn broker(&mut self) -> &mut TestBroker {
        &mut self.broker
    }

    /// Where browsers connect, as a URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address())
    }

    /// Where browsers connect.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port.number()))
    }

    /// Puts events into the stream, as a relay does.
    ///
    /// # Panics
    /// The broker is away.
    pub async fn announcer(&self) -> Announcer {
        Announcer::new(self.broker.client("ingest").await)
    }

    /// A token of a church's user, valid so long from now.
    ///
    /// # Panics
    /// The church id is none.
    pub fn token(&self, church: &str, user: &str, valid: Duration) -> String {
        assert!(church.parse::<ChurchId>().is_ok(), "{church} is no church id");
        token::mint(SECRET, church, user, valid).expect("a token is made")
    }

    /// A client without the proxies of this machine.
    pub fn http(&self) -> &reqwest::Client {
        &self.http
    }

    /// A number of its metrics; zero for what it never counted.
    ///
    /// # Panics
    /// It does not answer.
    pub async fn count(&self, name: &str) -> f64 {
        let answer = self.http.get(format!("{}/metrics", self.ops_url())).send().await;
        let metrics = answer.expect("it answers operators").text().await.expect("it has metrics");
        number(&metrics, name).unwrap_or(0.0)
    }

    /// Waits until a number of its metrics is this.
    ///
    /// # Panics
    /// It never is.
    pub async fn until_count(&self, name: &str, wanted: f64) {
        eventually(&format!("{name} is {wanted}"), async || (self.count(name).await == wanted).then_some(()))
            .await;
    }

    /// The most memory that it ever had, in bytes; zero where the system does not tell.
    ///
    /// # Panics
    /// It does not run.
    pub fn peak_memory(&mut self) -> u64 {
        let ids = self.broker.processes.ids();
        let gateway = ids.iter().find(|(name, _)| *name == services::gateway(1));
        usage::peak(gateway.expect("the gateway runs").1)
    }

    fn ops_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.ops_port.number())
    }
}
