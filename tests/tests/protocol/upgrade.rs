//! From polling to a websocket.

use reqwest::StatusCode;
use serde_json::json;
use tests::gateway::TestGateway;
use uuid::Uuid;

use crate::packet::{CONNECT, NOOP, PING, PONG, UPGRADE};
use crate::polling::Polling;
use crate::websocket::Websocket;
use crate::{CHURCH, HOUR, connect, event, patient_gateway, polling_member};

pub(crate) const PROBE: &str = "2probe";
pub(crate) const PROBED: &str = "3probe";

/// The query of the websocket that upgrades a session.
pub(crate) fn query(client: &Polling) -> String {
    format!("EIO=4&transport=websocket&sid={}", client.sid())
}

/// Upgrades a session as a client does that has no poll open.
async fn upgraded(gateway: &TestGateway, client: &Polling) -> Websocket {
    let Ok(mut socket) = Websocket::request(gateway, &query(client)).await else { panic!("it is refused") };
    socket.send(PROBE).await;
    assert_eq!(socket.frame().await.as_deref(), Some(PROBED));
    socket.send(UPGRADE).await;
    socket
}

async fn next_event(socket: &mut Websocket) -> Uuid {
    let (_, delivered) = event(&socket.until("message:delivered").await);
    serde_json::from_value(delivered["eventId"].clone()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn events_from_before_and_after_an_upgrade_arrive_by_websocket_in_order() {
    let gateway = patient_gateway().await;
    let client = polling_member(&gateway).await;
    let announcer = gateway.announcer().await;
    let greeted = gateway.count("church_gateway_deliveries_total").await;
    let mut events = announcer.announce(CHURCH, 2, "").await;
    gateway.until_count("church_gateway_deliveries_total", greeted + 4.0).await;
    let mut socket = upgraded(&gateway, &client).await;
    events.extend(announcer.announce(CHURCH, 2, "").await);
    for id in events {
        assert_eq!(next_event(&mut socket).await, id);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn polls_are_answered_at_once_during_an_upgrade() {
    let gateway = patient_gateway().await;
    let client = polling_member(&gateway).await;
    let upgrading = async {
        let Ok(mut socket) = Websocket::request(&gateway, &query(&client)).await else { panic!("refused") };
        socket.send(PROBE).await;
        assert_eq!(socket.frame().await.as_deref(), Some(PROBED));
        socket
    };
    let (packets, mut socket) = tokio::join!(client.packets(), upgrading);
    // Depending on which came first, the session's first ping may still have been there for the poll.
    assert!(packets.iter().all(|packet| [NOOP, PING].contains(&&**packet)), "{packets:?}");
    assert_eq!(client.packets().await, [NOOP]);
    socket.send(UPGRADE).await;
    let events = gateway.announcer().await.announce(CHURCH, 1, "").await;
    assert_eq!(next_event(&mut socket).await, events[0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_for_an_upgraded_session_are_refused_and_do_it_no_harm() {
    let gateway = patient_gateway().await;
    let client = polling_member(&gateway).await;
    let mut socket = upgraded(&gateway, &client).await;
    let events = gateway.announcer().await.announce(CHURCH, 1, "").await;
    assert_eq!(next_event(&mut socket).await, events[0]);
    assert_eq!(client.poll().await.0, StatusCode::BAD_REQUEST);
    assert_eq!(client.post(PONG).await.0, StatusCode::BAD_REQUEST);
    let events = gateway.announcer().await.announce(CHURCH, 1, "").await;
    assert_eq!(next_event(&mut socket).await, events[0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_websocket_of_an_upgraded_session_is_closed_and_the_first_stays() {
    let gateway = patient_gateway().await;
    let client = polling_member(&gateway).await;
    let mut socket = upgraded(&gateway, &client).await;
    let events = gateway.announcer().await.announce(CHURCH, 1, "").await;
    assert_eq!(next_event(&mut socket).await, events[0]);
    if let Ok(mut second) = Websocket::request(&gateway, &query(&client)).await {
        second.send(PROBE).await;
        assert_eq!(second.frame().await, None);
    }
    let events = gateway.announcer().await.announce(CHURCH, 1, "").await;
    let (_, delivered) = event(&socket.until("message:delivered").await);
    assert_eq!(delivered["eventId"], json!(events[0]));
    assert_eq!(gateway.count("church_gateway_sockets").await, 1.0);
}

/// Node's server goes on by polling then. Here the library ends the session, and the client resumes in a new one.
#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_that_fails_ends_the_session_and_loses_nothing() {
    let gateway = patient_gateway().await;
    let mut client = Polling::open(&gateway).await;
    client.send(&[&connect(&gateway)]).await;
    let (_, connected) = event(&client.until("connected").await);
    let Ok(socket) = Websocket::request(&gateway, &query(&client)).await else { panic!("it is refused") };
    drop(socket);
    client.until_closed().await;
    gateway.until_count("church_gateway_sockets", 0.0).await;

    let events = gateway.announcer().await.announce(CHURCH, 1, "").await;
    let mut again = Websocket::open(&gateway).await;
    let auth = json!({"token": gateway.token(CHURCH, "ann", HOUR), "cursor": connected["cursor"]});
    again.send(&format!("{CONNECT}{auth}")).await;
    assert_eq!(event(&again.until("connected").await).1["recovered"], true);
    assert_eq!(next_event(&mut again).await, events[0]);
}
