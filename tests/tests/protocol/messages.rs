//! Packets on each transport: text, several at once, binary data, and what ends a session.

use reqwest::StatusCode;
use serde_json::json;

use crate::packet::{CLOSE, OPEN, PING};
use crate::polling::Polling;
use crate::websocket::Websocket;
use crate::{CHURCH, event, json_after, patient_gateway, polling_member, websocket_member};

/// Letters of one, two, three and four bytes.
const TEXT: &str = "Grüße, 주일 예배 ✝ 🎶";
/// Packets of one event that was announced: the update, and the delivery.
const PACKETS: usize = 2;

/// A binary event that is acknowledged with this number, and the data that follows it.
fn binary_event(number: u32) -> String {
    format!(r#"451-{number}["auth:refresh",{{"_placeholder":true,"num":0}}]"#)
}

#[tokio::test(flavor = "multi_thread")]
async fn one_poll_brings_all_waiting_packets_whole_and_in_order() {
    let gateway = patient_gateway().await;
    let client = polling_member(&gateway).await;
    let greeted = gateway.count("church_gateway_deliveries_total").await;
    let events = gateway.announcer().await.announce(CHURCH, 3, TEXT).await;
    gateway.until_count("church_gateway_deliveries_total", greeted + (events.len() * PACKETS) as f64).await;

    let packets = client.packets().await;
    let heard: Vec<_> = packets.iter().filter(|packet| *packet != PING).map(|packet| event(packet)).collect();
    let names = ["message:status_update", "message:delivered"].into_iter().cycle();
    let expected: Vec<_> = events
        .iter()
        .flat_map(|event| [event; PACKETS])
        .zip(names)
        .map(|(id, name)| (name, json!(id)))
        .collect();
    let seen: Vec<_> = heard.iter().map(|(name, it)| (&**name, it["eventId"].clone())).collect();
    assert_eq!(seen, expected);
    assert!(heard.iter().all(|(_, it)| it["failureReason"] == TEXT), "{heard:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn all_packets_of_one_post_are_taken_text_and_binary() {
    let gateway = patient_gateway().await;
    let mut client = polling_member(&gateway).await;
    client.send(&[r#"42["one"]"#, r#"42["two",{"text":"✝"}]"#, r#"42["three"]"#]).await;
    gateway.until_count("church_gateway_unknown_events_total", 3.0).await;
    client.send(&[&binary_event(7), "bAQIDBA==", r#"42["four"]"#]).await;
    assert_eq!(json_after("437", &client.until("43").await)[0]["ok"], false);
    gateway.until_count("church_gateway_unknown_events_total", 4.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_carries_text_and_binary_data() {
    let gateway = patient_gateway().await;
    let mut client = websocket_member(&gateway).await;
    let events = gateway.announcer().await.announce(CHURCH, 1, TEXT).await;
    let (name, delivered) = event(&client.until("message:delivered").await);
    assert_eq!((&*name, &delivered["eventId"]), ("message:delivered", &json!(events[0])));
    assert_eq!(delivered["failureReason"], TEXT);

    client.send(&binary_event(8)).await;
    client.send_binary(&[1, 2, 3, 4]).await;
    assert_eq!(json_after("438", &client.until("43").await)[0]["ok"], false);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_packet_of_no_known_kind_ends_the_session() {
    let gateway = patient_gateway().await;
    for wrong in ["abc", "é", "7", "b%%%"] {
        let client = Polling::open(&gateway).await;
        assert_eq!(client.post(wrong).await.0, StatusCode::BAD_REQUEST, "{wrong}");
        assert_eq!(client.poll().await.0, StatusCode::BAD_REQUEST, "{wrong}");
    }
    for wrong in ["abc", "é", "7", "", OPEN] {
        let mut client = Websocket::open(&gateway).await;
        client.send(wrong).await;
        client.until_closed().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_polls_at_once_end_the_session() {
    let gateway = patient_gateway().await;
    let client = Polling::open(&gateway).await;
    client.past_first_ping().await;
    // The first one waits for packets, and the second one finds it waiting.
    let mut answers = <[_; 2]>::from(tokio::join!(client.poll(), client.poll()));
    answers.sort();
    let [first, second] = answers;
    assert_eq!(first, (StatusCode::OK, CLOSE.into()));
    assert_eq!(second.0, StatusCode::BAD_REQUEST);
    assert_eq!(client.poll().await.0, StatusCode::BAD_REQUEST);
}
