//! What a gateway hands on, and what it says when it can't: a real gateway at a real broker, with a proxy between them
//! that cuts, holds back, or leads nowhere.

#![expect(clippy::unwrap_used, reason = "what fails here fails a test")]

mod continuity;
mod lapses;
mod replays;
mod slow;
mod tokens;

use std::time::Duration;

use tests::broker::TestBroker;
use tests::client::Client;
use tests::gateway::TestGateway;
use tests::proxy::Proxy;

/// The church of all clients here.
const CHURCH: &str = "grace";
/// How long the tokens are valid.
const HOUR: Duration = Duration::from_secs(3600);
/// Where nobody listens.
const NOWHERE: &str = "http://127.0.0.1:1";

/// A gateway, and the proxy through which it reaches its broker.
async fn proxied(environment: &[(&str, &str)]) -> (TestGateway, Proxy) {
    let broker = TestBroker::start().await;
    let proxy = Proxy::to(&http(&broker)).await;
    let url = proxy.url().replace("http", "nats");
    (TestGateway::start_at(broker, &url, environment).await, proxy)
}

/// The broker's address as proxies take it.
fn http(broker: &TestBroker) -> String {
    broker.url().replace("nats", "http")
}

/// A client of the church, greeted.
async fn join(gateway: &TestGateway, user: &str) -> Client {
    join_at(gateway, &gateway.url(), user).await
}

/// The same, by way of a proxy.
async fn join_at(gateway: &TestGateway, url: &str, user: &str) -> Client {
    let mut client = Client::start(url, &gateway.token(CHURCH, user, HOUR), &[]).await;
    client.until("connected").await;
    client
}

/// Whether a client has seen something of this name.
fn has_seen(client: &Client, event: &str) -> bool {
    client.seen().iter().any(|seen| seen.event == event)
}
