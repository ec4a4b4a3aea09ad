//! Pings, and clients that do not answer them.
//!
//! The protocol's own suite expects the first ping after an interval. Here it comes with the opening, which clients do
//! not mind: so a session's first ping says nothing of the interval, and each case looks at several.

use serde_json::json;
use tests::gateway::TestGateway;

use crate::packet::{PING, PONG};
use crate::polling::Polling;
use crate::websocket::Websocket;
use crate::{CHURCH, PATIENT, connect, event, polling_member, websocket_member};

/// Often pinged, and given long to answer: these clients answer, if not in time.
const OFTEN: [(&str, &str); 3] = [("GATEWAY_PING_INTERVAL", "200"), PATIENT[0], PATIENT[1]];
/// A client that does not answer is closed soon, but not before it was let in.
const STRICT: [(&str, &str); 3] =
    [("GATEWAY_PING_INTERVAL", "200"), ("GATEWAY_PING_TIMEOUT", "3000"), PATIENT[1]];
/// How many pings are waited for.
const SEVERAL: usize = 4;
const MISSED: &str = r#"church_gateway_disconnects_total{reason="heartbeat"}"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_poll_brings_a_ping_each_interval_as_long_as_pongs_come() {
    let gateway = TestGateway::start(&OFTEN).await;
    let client = Polling::open(&gateway).await;
    for _ in 0..SEVERAL {
        assert_eq!(client.packets().await, [PING]);
        client.send(&[PONG]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_brings_a_ping_each_interval_as_long_as_pongs_come() {
    let gateway = TestGateway::start(&OFTEN).await;
    let mut client = Websocket::open(&gateway).await;
    for _ in 0..SEVERAL {
        assert_eq!(client.frame().await.as_deref(), Some(PING));
        client.send(PONG).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_pong_no_further_ping_comes_and_polling_ends() {
    let gateway = TestGateway::start(&STRICT).await;
    let silent = Polling::open(&gateway).await;
    silent.send(&[&connect(&gateway)]).await;
    let pings = silent.until_closed().await.into_iter().filter(|packet| packet == PING).count();
    assert_eq!(pings, 1);
    gateway.until_count(MISSED, 1.0).await;
    gateway.until_count("church_gateway_sockets", 0.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_pong_no_further_ping_comes_and_a_websocket_ends() {
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
async fn pongs_that_nobody_asked_for_do_no_harm() {
    let gateway = TestGateway::start(&OFTEN).await;
    let (mut polls, mut talks) = (polling_member(&gateway).await, websocket_member(&gateway).await);
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
