//! Joining and leaving Socket.IO's main namespace.

use std::time::Duration;

use serde_json::json;
use tests::gateway::TestGateway;
use tokio::time::timeout;

use crate::packet::{CONNECT, CONNECT_ERROR, DISCONNECT, PING, PONG, event, json_after};
use crate::polling::Polling;
use crate::websocket::Websocket;
use crate::{CHURCH, HOUR, PATIENT, connect, patient_gateway, polling_client, websocket_client};

/// Time after which a client repeats its connect packet.
const AGAIN: Duration = Duration::from_secs(3);
/// A short connect timeout. Clients that a test connects get a longer one.
const HASTY: [(&str, &str); 2] = [("GATEWAY_CONNECT_TIMEOUT", "3000"), PATIENT[0]];

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_client_connects_with_and_without_an_auth_payload() {
    let gateway = patient_gateway().await;
    let in_query = format!("EIO=4&transport=websocket&token={}", gateway.token(CHURCH, "ann", HOUR));
    for (query, packet) in
        [("EIO=4&transport=websocket", connect(&gateway)), (&*in_query, CONNECT.to_owned())]
    {
        let (mut client, _) = Websocket::open_with(&gateway, query).await;
        client.send(&packet).await;
        let sid = json_after(CONNECT, &client.next().await.unwrap())["sid"].clone();
        assert!(!sid.as_str().unwrap().is_empty());
        let (name, connected) = event(&client.next().await.unwrap());
        assert_eq!((&*name, &connected["socketId"]), ("connected", &sid));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_polling_client_connects() {
    let gateway = patient_gateway().await;
    let mut client = Polling::open(&gateway).await;
    client.send(&[&connect(&gateway)]).await;
    assert!(json_after(CONNECT, &client.next().await)["sid"].is_string());
    assert_eq!(event(&client.next().await).0, "connected");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_client_gets_the_reason_and_may_retry_on_the_same_connection() {
    let gateway = patient_gateway().await;
    let mut client = Websocket::open(&gateway).await;
    client.send(CONNECT).await;
    let told = json_after(CONNECT_ERROR, &client.next().await.unwrap());
    assert_eq!(told, json!({"message": "Authentication error: missing token"}));
    // The library reports the refusal before it has finished the first attempt, and ignores further attempts until
    // then.
    for _ in 0..5 {
        client.send(&connect(&gateway)).await;
        if timeout(AGAIN, client.until("connected")).await.is_ok() {
            return;
        }
    }
    panic!("the client is not connected");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_namespace_is_refused_and_the_main_one_stays_usable() {
    let gateway = patient_gateway().await;
    let refused = r#"44/random,{"message":"Invalid namespace"}"#;
    let mut polls = Polling::open(&gateway).await;
    polls.send(&["40/random"]).await;
    assert_eq!(polls.next().await, refused);
    let mut client = Websocket::open(&gateway).await;
    for packet in ["40/random", "40/random,", r#"40/random,{"token":"abc"}"#] {
        client.send(packet).await;
        assert_eq!(client.next().await.as_deref(), Some(refused), "{packet}");
    }
    client.send(&connect(&gateway)).await;
    client.until("connected").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_malformed_connect_packet_closes_the_connection() {
    let gateway = patient_gateway().await;
    let mut client = Websocket::open(&gateway).await;
    client.send("4abc").await;
    client.until_closed().await;
    let polls = Polling::open(&gateway).await;
    polls.post("4abc").await;
    polls.until_closed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_without_a_valid_token_is_closed_after_the_connect_timeout() {
    let gateway = TestGateway::start(&HASTY).await;
    let mut other = websocket_client(&gateway).await;
    let (mut silent, mut refused, polls) =
        (Websocket::open(&gateway).await, Websocket::open(&gateway).await, Polling::open(&gateway).await);
    refused.send(r#"40{"token":"abc"}"#).await;
    polls.past_first_ping().await;
    tokio::join!(silent.until_closed(), refused.until_closed(), polls.until_closed());
    let events = gateway.announcer().await.announce(CHURCH, 1, "").await;
    assert_eq!(event(&other.until("message:delivered").await).1["eventId"], json!(events[0]));
}

/// Frequent pings, and long limits for everything else.
const OFTEN: [(&str, &str); 3] = [("GATEWAY_PING_INTERVAL", "200"), PATIENT[0], PATIENT[1]];

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_the_namespace_may_rejoin_on_the_same_connection() {
    let gateway = TestGateway::start(&OFTEN).await;
    let (mut client, mut polls) = (websocket_client(&gateway).await, polling_client(&gateway).await);
    client.send(DISCONNECT).await;
    polls.send(&[DISCONNECT]).await;
    gateway.until_count("church_gateway_sockets", 0.0).await;
    // The first ping may have been sent before.
    for _ in 0..3 {
        assert_eq!(client.frame().await.as_deref(), Some(PING));
        client.send(PONG).await;
        assert_eq!(polls.frame().await, PING);
        polls.send(&[PONG]).await;
    }
    client.send(&connect(&gateway)).await;
    client.until("connected").await;
    polls.send(&[&connect(&gateway)]).await;
    polls.until("connected").await;
    gateway.until_count("church_gateway_sockets", 2.0).await;
    gateway.announcer().await.announce(CHURCH, 1, "").await;
    client.until("message:delivered").await;
    polls.until("message:delivered").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_rejoins_repeatedly_gets_every_event_after_connected() {
    let gateway = patient_gateway().await;
    let announcer = gateway.announcer().await;
    let mut client = websocket_client(&gateway).await;
    // No more often than one connection may present a token.
    for _ in 0..6 {
        client.send(DISCONNECT).await;
        gateway.until_count("church_gateway_sockets", 0.0).await;
        client.send(&connect(&gateway)).await;
        client.until("connected").await;
        let events = announcer.announce(CHURCH, 1, "").await;
        let (_, heard) = event(&client.until("message:delivered").await);
        assert_eq!(heard["eventId"], json!(events[0]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_never_rejoins_is_closed_after_the_connect_timeout() {
    let gateway = TestGateway::start(&HASTY).await;
    let mut client = websocket_client(&gateway).await;
    client.send(DISCONNECT).await;
    client.until_closed().await;
    gateway.until_count("church_gateway_sockets", 0.0).await;
}
