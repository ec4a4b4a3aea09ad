//! The gateway's feed: a real gateway and a real broker, with a proxy between them that cuts connections, delays
//! answers or leads nowhere.

#![expect(clippy::unwrap_used, reason = "what fails here fails a test")]

mod continuity;
mod lapses;
mod partitions;
mod replays;
mod slow;
mod tokens;
mod unknown;

use std::time::Duration;

use tests::broker::TestBroker;
use tests::client::Client;
use tests::gateway::TestGateway;
use tests::proxy::Proxy;

/// The church of all clients here.
const CHURCH: &str = "grace";
/// Validity of the tokens.
const HOUR: Duration = Duration::from_secs(3600);
/// An address without a listener.
const NOWHERE: &str = "http://127.0.0.1:1";

/// A gateway, and the proxy between it and its broker.
async fn proxied(environment: &[(&str, &str)]) -> (TestGateway, Proxy) {
    let broker = TestBroker::start().await;
    let proxy = Proxy::to(&http(&broker)).await;
    let url = proxy.url().replace("http", "nats");
    (TestGateway::start_at(broker, &url, environment).await, proxy)
}

/// The broker's address as an `http` URL, which proxies take.
fn http(broker: &TestBroker) -> String {
    broker.url().replace("nats", "http")
}

/// A client of the church that has received `connected`.
async fn join(gateway: &TestGateway, user: &str) -> Client {
    join_at(gateway, &gateway.url(), user).await
}

/// The same at another URL, such as a proxy's.
async fn join_at(gateway: &TestGateway, url: &str, user: &str) -> Client {
    let mut client = Client::start(url, &gateway.token(CHURCH, user, HOUR), &[]).await;
    client.until("connected").await;
    client
}

/// Whether a client has seen an event of this name.
fn has_seen(client: &Client, event: &str) -> bool {
    client.seen().iter().any(|seen| seen.event == event)
}
