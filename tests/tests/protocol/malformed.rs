//! A client that breaks the protocols on purpose is closed, disturbs nobody else, and leaves no memory in use. Each
//! kind of case has crashed some Socket.IO server, or filled its memory.

use futures_util::future::join_all;
use reqwest::StatusCode;
use serde_json::json;
use tests::gateway::TestGateway;

use crate::polling::Polling;
use crate::websocket::Websocket;
use crate::{
    CHURCH, HOUR, PATIENT, assert_flat, connect, event, json_after, polling_member, websocket_member,
};

/// The largest message that a client may send here.
const LARGEST: usize = 10_000;
const GATEWAY: &[(&str, &str)] = &[
    PATIENT[0],
    PATIENT[1],
    ("GATEWAY_MAX_MESSAGE", "10000"),
    ("GATEWAY_CONNECTS_PER_SECOND", "0"),
    ("GATEWAY_ADDRESS_CONNECTS_PER_SECOND", "0"),
    ("GATEWAY_MAX_USER_SOCKETS", "0"),
];
/// Clients that misbehave at the same time.
const CROWD: usize = 10;

/// What a client sends.
enum Frame {
    Text(&'static str),
    /// So many bytes.
    Binary(usize),
}

use Frame::{Binary, Text};

/// A binary event whose only part is to come.
const ONE_PART: Frame = Text(r#"451-["message",{"_placeholder":true,"num":0}]"#);
const TWO_PARTS: Frame =
    Text(r#"452-["message",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]"#);

/// What ends the connection of a client that was let in.
const WRONG: &[&[Frame]] = &[
    // More parts than anybody needs, than fit a number, or none.
    &[Text(r#"459-["message",{"_placeholder":true,"num":0}]"#)],
    &[Text(r#"452147483648-["message",{"_placeholder":true,"num":0}]"#)],
    &[Text(r#"4599999999999999999999999-["message",{"_placeholder":true,"num":0}]"#)],
    &[Text(r#"45-["message",{"_placeholder":true,"num":0}]"#)],
    &[Text(r#"45["message",{"_placeholder":true,"num":0}]"#)],
    // Parts that are missing, too many, or too heavy together.
    &[ONE_PART, Text(r#"42["message"]"#)],
    &[ONE_PART, ONE_PART],
    &[Binary(4)],
    &[ONE_PART, Binary(4), Binary(4)],
    &[TWO_PARTS, Binary(LARGEST / 2 + 1), Binary(LARGEST / 2 + 1)],
    // What only a server says, and acknowledgements without a number or with one that is none.
    &[Text(r#"44{"message":"no"}"#)],
    &[Text("43[]")],
    &[Text("4399999999999999999999999[]")],
    &[Text(r#"461-[{"_placeholder":true,"num":0}]"#)],
    // Letters of several bytes where one byte is looked at.
    &[Text("é")],
    &[Text("4é")],
    &[Text("42é")],
    &[Text("45é")],
    &[Text("451é")],
    &[Text("2é"), Text("é")],
    // More than may be sent.
    &[Binary(LARGEST + 1)],
];

async fn send(client: &mut Websocket, frames: &[Frame]) {
    for frame in frames {
        match frame {
            Text(text) => client.send(text).await,
            Binary(size) => client.send_binary(&vec![0; *size]).await,
        }
    }
}

async fn misbehave(gateway: &TestGateway) {
    for frames in WRONG {
        let mut client = websocket_member(gateway).await;
        send(&mut client, frames).await;
        client.until_closed().await;
    }
}

/// The other member still hears every event, and its socket is the only one.
async fn assert_unharmed(gateway: &TestGateway, member: &mut Websocket) {
    let events = gateway.announcer().await.announce(CHURCH, 1, "").await;
    assert_eq!(event(&member.until("message:delivered").await).1["eventId"], json!(events[0]));
    gateway.until_count("church_gateway_sockets", 1.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_packets_close_their_client_alone_and_leave_no_memory_in_use() {
    let mut gateway = TestGateway::start(GATEWAY).await;
    let mut member = websocket_member(&gateway).await;
    join_all((0..CROWD).map(|_| misbehave(&gateway))).await;
    assert_unharmed(&gateway, &mut member).await;
    let before = gateway.peak_memory();
    for _ in 0..3 {
        join_all((0..CROWD).map(|_| misbehave(&gateway))).await;
    }
    assert_unharmed(&gateway, &mut member).await;
    assert_flat(&mut gateway, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_bodies_close_their_session_alone() {
    let gateway = TestGateway::start(GATEWAY).await;
    let mut member = websocket_member(&gateway).await;
    let half_a_letter = vec![b'4', b'2', 0xf0, 0x9f];
    let bodies = [
        "\u{1e}".repeat(LARGEST).into_bytes(),
        half_a_letter,
        "é".into(),
        "4é".into(),
        "bé".into(),
        "b=".into(),
    ];
    for body in bodies {
        let client = polling_member(&gateway).await;
        let shown = String::from_utf8_lossy(&body[..body.len().min(20)]).into_owned();
        let (status, _) = client.post(body).await;
        // What is wrong inside of a packet shows only after the body was taken.
        let expected = if shown == "4é" { StatusCode::OK } else { StatusCode::BAD_REQUEST };
        assert_eq!(status, expected, "{shown}");
        client.until_closed().await;
    }
    assert_unharmed(&gateway, &mut member).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_too_large_is_refused() {
    let gateway = TestGateway::start(GATEWAY).await;
    let mut member = websocket_member(&gateway).await;
    let client = Polling::open(&gateway).await;
    let too_large = format!("42[\"message\"]{}", " ".repeat(LARGEST));
    assert_eq!(client.post(too_large).await.0, StatusCode::PAYLOAD_TOO_LARGE);
    assert_unharmed(&gateway, &mut member).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_packets_that_break_no_rule_are_ignored() {
    let gateway = TestGateway::start(GATEWAY).await;
    let mut client = websocket_member(&gateway).await;
    let deep = |name: &str| format!("[\"{name}\",{}{}]", "[".repeat(4_000), "]".repeat(4_000));
    for packet in [
        r#"42/é,["é"]"#.to_owned(),
        r#"42/random,["message"]"#.into(),
        "41/random".into(),
        r#"4299999999999999999999999["message"]"#.into(),
        format!("42{}", deep("message")),
    ] {
        client.send(&packet).await;
    }
    client.send(&format!("429{}", deep("auth:refresh"))).await;
    assert_eq!(json_after("439", &client.until("43").await)[0]["ok"], false);
    assert_unharmed(&gateway, &mut client).await;

    let mut stranger = Websocket::open(&gateway).await;
    stranger.send(&format!("40{}{}", "[".repeat(4_000), "]".repeat(4_000))).await;
    assert!(stranger.next().await.unwrap().starts_with("44{"));
}

#[tokio::test(flavor = "multi_thread")]
async fn acknowledgements_that_nobody_waits_for_are_ignored() {
    let gateway = TestGateway::start(GATEWAY).await;
    let mut client = websocket_member(&gateway).await;
    for number in 0..20 {
        client.send(&format!("43{number}[true]")).await;
    }
    assert_unharmed(&gateway, &mut client).await;
}

/// Sends many packets without a look at the answers, far more than may be kept.
async fn flood(client: &mut Websocket, packet: impl Fn(&str) -> String) {
    for number in 0..6_000 {
        client.send(&packet(&format!("{number}{}", "0".repeat(4_000)))).await;
    }
    client.until_closed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn floods_close_their_client_alone_and_are_not_kept() {
    let mut gateway = TestGateway::start(GATEWAY).await;
    let mut member = websocket_member(&gateway).await;
    let before = gateway.peak_memory();
    flood(&mut Websocket::open(&gateway).await, |number| format!("40/{number},")).await;
    let mut loud = websocket_member(&gateway).await;
    flood(&mut loud, |number| format!("40/{number},")).await;
    loud = websocket_member(&gateway).await;
    flood(&mut loud, |number| format!("431[{number}]")).await;
    loud = websocket_member(&gateway).await;
    flood(&mut loud, |number| format!(r#"42["message","{number}"]"#)).await;
    assert_flat(&mut gateway, before);
    assert_unharmed(&gateway, &mut member).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_let_in_once_whatever_it_asks_for_later() {
    let gateway = TestGateway::start(GATEWAY).await;
    let mut client = websocket_member(&gateway).await;
    let hope = format!("40{}", json!({"token": gateway.token("hope", "eve", HOUR)}));
    for packet in [&hope, &connect(&gateway), r#"40{"token":"abc"}"#, "40"] {
        client.send(packet).await;
    }
    client.send(r#"421["auth:refresh"]"#).await;
    let answers = client.until("43").await;
    assert!(answers.starts_with("431["), "{answers}");
    gateway.announcer().await.announce("hope", 1, "").await;
    assert_unharmed(&gateway, &mut client).await;
    assert_eq!(gateway.count(r#"church_gateway_connections_total{transport="websocket"}"#).await, 1.0);
    assert_eq!(gateway.count("church_gateway_rooms").await, 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn packets_before_the_token_close_the_connection() {
    let gateway = TestGateway::start(GATEWAY).await;
    for packet in [r#"42["message"]"#, "41", "431[]", r#"421["auth:refresh"]"#] {
        let mut stranger = Websocket::open(&gateway).await;
        stranger.send(packet).await;
        stranger.until_closed().await;
        let polls = Polling::open(&gateway).await;
        polls.send(&[packet]).await;
        polls.until_closed().await;
    }
}
