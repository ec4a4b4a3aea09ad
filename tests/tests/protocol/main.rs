//! The gateway follows the Engine.IO protocol (version 4) and the Socket.IO protocol (version 5), also with clients
//! that break them. The tests write requests and frames by hand, because a stock client sends only valid ones.
//!
//! The protocols' own test suites expect a server that echoes messages. The gateway echoes nothing, so a church's
//! events replace the echo, and the acknowledgement of `auth:refresh` replaces other acknowledgements.

#![expect(clippy::unwrap_used, clippy::panic, reason = "what fails here fails a test")]

mod abandoned;
mod acknowledging;
mod closing;
mod connecting;
mod handshake;
mod heartbeat;
mod malformed;
mod messages;
mod packet;
mod polling;
mod upgrade;
mod websocket;

use std::time::Duration;

use tests::gateway::TestGateway;

use crate::polling::Polling;
use crate::websocket::Websocket;

/// The church of all clients here.
const CHURCH: &str = "grace";
/// Allowed growth of the peak memory. Keeping each session, or all received data, would need much more.
const FLAT: u64 = 8 << 20;
/// Validity of the tokens.
const HOUR: Duration = Duration::from_secs(3600);

/// Timeouts that no test reaches, so that a connection ends only for the reason under test.
const PATIENT: [(&str, &str); 2] =
    [("GATEWAY_PING_TIMEOUT", "600000"), ("GATEWAY_CONNECT_TIMEOUT", "600000")];

/// A gateway with these timeouts.
async fn patient_gateway() -> TestGateway {
    TestGateway::start(&PATIENT).await
}

/// The connect packet of a client.
fn connect(gateway: &TestGateway) -> String {
    let token = gateway.token(CHURCH, "ann", HOUR);
    format!("{}{}", packet::CONNECT, serde_json::json!({ "token": token }))
}

/// A polling client that has received `connected`.
async fn polling_client(gateway: &TestGateway) -> Polling {
    let mut client = Polling::open(gateway).await;
    client.send(&[&connect(gateway)]).await;
    client.until("connected").await;
    client
}

/// A websocket client that has received `connected`.
async fn websocket_client(gateway: &TestGateway) -> Websocket {
    let mut client = Websocket::open(gateway).await;
    client.send(&connect(gateway)).await;
    client.until("connected").await;
    client
}

/// Fails if the gateway's peak memory has grown by more than [`FLAT`].
fn assert_flat(gateway: &mut TestGateway, before: u64) {
    let grown = gateway.peak_memory().saturating_sub(before);
    assert!(grown < FLAT, "{grown} bytes more than before");
}
