//! How a client comes into Socket.IO's main namespace, and how it leaves it.

use std::time::Duration;

use serde_json::json;
use tests::gateway::TestGateway;
use tokio::time::timeout;

use crate::packet::{CONNECT, CONNECT_ERROR, DISCONNECT, PING, PONG};
use crate::polling::Polling;
use crate::websocket::Websocket;
use crate::{
    CHURCH, HOUR, PATIENT, connect, event, json_after, patient_gateway, polling_member, websocket_member,
};

/// After so long a client asks once more to be let in.
const AGAIN: Duration = Duration::from_secs(3);
/// Much shorter than the time that is given to a client that a test lets in.
const HASTY: [(&str, &str); 2] = [("GATEWAY_CONNECT_TIMEOUT", "3000"), PATIENT[0]];

#[tokio::test(flavor = "multi_thread")]
async fn a_client_gets_in_with_and_without_a_payload() {
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
async fn a_client_on_polling_gets_in() {
    let gateway = patient_gateway().await;
    let mut client = Polling::open(&gateway).await;
    client.send(&[&connect(&gateway)]).await;
    assert!(json_after(CONNECT, &client.next().await)["sid"].is_string());
    assert_eq!(event(&client.next().await).0, "connected");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_client_is_told_why_and_may_try_again_on_the_same_connection() {
    let gateway = patient_gateway().await;
    let mut client = Websocket::open(&gateway).await;
    client.send(CONNECT).await;
    let told = json_after(CONNECT_ERROR, &client.next().await.unwrap());
    assert_eq!(told, json!({"message": "Authentication error: missing token"}));
    // The library tells a client before it is done with its first attempt, and ignores another one until then.
    for _ in 0..5 {
        client.send(&connect(&gateway)).await;
        if timeout(AGAIN, client.until("connected")).await.is_ok() {
            return;
        }
    }
    panic!("it is not let in");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_that_is_not_there_is_refused_and_the_main_one_stays_open() {
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
async fn a_handshake_that_can_not_be_read_ends_the_connection() {
    let gateway = patient_gateway().await;
    let mut client = Websocket::open(&gateway).await;
    client.send("4abc").await;
    client.until_closed().await;
    let polls = Polling::open(&gateway).await;
    polls.post("4abc").await;
    polls.until_closed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_without_a_good_token_is_closed_after_a_while_and_a_member_stays() {
    let gateway = TestGateway::start(&HASTY).await;
    let mut member = websocket_member(&gateway).await;
    let (mut silent, mut refused, polls) =
        (Websocket::open(&gateway).await, Websocket::open(&gateway).await, Polling::open(&gateway).await);
    refused.send(r#"40{"token":"abc"}"#).await;
    polls.past_first_ping().await;
    tokio::join!(silent.until_closed(), refused.until_closed(), polls.until_closed());
    let events = gateway.announcer().await.announce(CHURCH, 1, "").await;
    assert_eq!(event(&member.until("message:delivered").await).1["eventId"], json!(events[0]));
}

/// Often pinged, and given long for everything.
const OFTEN: [(&str, &str); 3] = [("GATEWAY_PING_INTERVAL", "200"), PATIENT[0], PATIENT[1]];

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_the_namespace_keeps_its_connection_and_may_come_back() {
    let gateway = TestGateway::start(&OFTEN).await;
    let (mut client, mut polls) = (websocket_member(&gateway).await, polling_member(&gateway).await);
    client.send(DISCONNECT).await;
    polls.send(&[DISCONNECT]).await;
    gateway.until_count("church_gateway_sockets", 0.0).await;
    // The first may have been on its way before.
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
async fn a_client_that_leaves_and_comes_back_many_times_hears_every_event_after_it_is_welcomed() {
    let gateway = patient_gateway().await;
    let announcer = gateway.announcer().await;
    let mut client = websocket_member(&gateway).await;
    // Not more often than one connection may show a token at once.
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
async fn a_client_that_leaves_the_namespace_for_good_is_closed_after_a_while() {
    let gateway = TestGateway::start(&HASTY).await;
    let mut client = websocket_member(&gateway).await;
    client.send(DISCONNECT).await;
    client.until_closed().await;
    gateway.until_count("church_gateway_sockets", 0.0).await;
}
