//! Pings, and clients that do not answer them.
//!
//! The protocol's own test suite expects the first ping after one interval. The gateway sends it with the opening,
//! which clients accept. So the first ping says nothing about the interval, and each test waits for several.

use serde_json::json;
use tests::gateway::TestGateway;

use crate::packet::{PING, PONG, event};
use crate::polling::Polling;
use crate::websocket::Websocket;
use crate::{CHURCH, PATIENT, connect, polling_client, websocket_client};

/// Frequent pings and a long limit for pongs, because these clients answer, but perhaps late.
const OFTEN: [(&str, &str); 3] = [("GATEWAY_PING_INTERVAL", "200"), PATIENT[0], PATIENT[1]];
/// A short limit for pongs, long enough to connect.
const STRICT: [(&str, &str); 3] =
    [("GATEWAY_PING_INTERVAL", "200"), ("GATEWAY_PING_TIMEOUT", "3000"), PATIENT[1]];
/// The number of pings to wait for.
const SEVERAL: usize = 4;
const MISSED: &str = r#"church_gateway_disconnects_total{reason="heartbeat"}"#;

#[tokio::test(flavor = "multi_thread")]
async fn polling_gets_a_ping_each_interval_while_pongs_come() {
    let gateway = TestGateway::start(&OFTEN).await;
    let client = Polling::open(&gateway).await;
    for _ in 0..SEVERAL {
        assert_eq!(client.packets().await, [PING]);
        client.send(&[PONG]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_gets_a_ping_each_interval_while_pongs_come() {
    let gateway = TestGateway::start(&OFTEN).await;
    let mut client = Websocket::open(&gateway).await;
    for _ in 0..SEVERAL {
        assert_eq!(client.frame().await.as_deref(), Some(PING));
        client.send(PONG).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_polling_session_without_a_pong_gets_no_second_ping_and_ends() {
    let gateway = TestGateway::start(&STRICT).await;
    let silent = Polling::open(&gateway).await;
    silent.send(&[&connect(&gateway)]).await;
    let pings = silent.until_closed().await.into_iter().filter(|packet| packet == PING).count();
    assert_eq!(pings, 1);
    gateway.until_count(MISSED, 1.0).await;
    gateway.until_count("church_gateway_sockets", 0.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_without_a_pong_gets_no_second_ping_and_ends() {
    let gateway = TestGateway::start(&STRICT).await;
    let mut silent = Websocket::open(&gateway).await;
    silent.send(&connect(&gateway)).await;
    let mut pings = 0;
    while let Some(packet) = silent.frame().await {
        pings += usize::from(packet == PING);
    }
    assert_eq!(pings, 1);
    gateway.until_count(MISSED, 1.0).await;
    gateway.until_count("church_gateway_sockets", 0.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unsolicited_pongs_are_ignored() {
    let gateway = TestGateway::start(&OFTEN).await;
    let (mut polls, mut talks) = (polling_client(&gateway).await, websocket_client(&gateway).await);
    for _ in 0..100 {
        polls.send(&[PONG, PONG]).await;
        talks.send(PONG).await;
    }
    let events = gateway.announcer().await.announce(CHURCH, 1, "").await;
    for packet in [polls.until("message:delivered").await, talks.until("message:delivered").await] {
        assert_eq!(event(&packet).1["eventId"], json!(events[0]));
    }
    gateway.until_count("church_gateway_sockets", 2.0).await;
}
