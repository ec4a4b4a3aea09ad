//! Upgrading from polling to a websocket.

use reqwest::StatusCode;
use serde_json::json;
use tests::gateway::TestGateway;
use uuid::Uuid;

use crate::packet::{CONNECT, NOOP, PING, PONG, UPGRADE, event};
use crate::polling::Polling;
use crate::websocket::Websocket;
use crate::{CHURCH, HOUR, connect, patient_gateway, polling_client};

pub(crate) const PROBE: &str = "2probe";
pub(crate) const PROBED: &str = "3probe";

/// The query of the websocket that upgrades this session.
pub(crate) fn query(client: &Polling) -> String {
    format!("EIO=4&transport=websocket&sid={}", client.sid())
}

/// Upgrades a session as a client without an open poll does.
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
async fn events_before_and_after_an_upgrade_arrive_over_the_websocket_in_order() {
    let gateway = patient_gateway().await;
    let client = polling_client(&gateway).await;
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
async fn polls_get_a_noop_at_once_during_an_upgrade() {
    let gateway = patient_gateway().await;
    let client = polling_client(&gateway).await;
    let upgrading = async {
        let Ok(mut socket) = Websocket::request(&gateway, &query(&client)).await else { panic!("refused") };
        socket.send(PROBE).await;
        assert_eq!(socket.frame().await.as_deref(), Some(PROBED));
        socket
    };
    let (packets, mut socket) = tokio::join!(client.packets(), upgrading);
    // If the poll came first, it may have returned the session's first ping.
    assert!(packets.iter().all(|packet| [NOOP, PING].contains(&&**packet)), "{packets:?}");
    assert_eq!(client.packets().await, [NOOP]);
    socket.send(UPGRADE).await;
    let events = gateway.announcer().await.announce(CHURCH, 1, "").await;
    assert_eq!(next_event(&mut socket).await, events[0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn polling_an_upgraded_session_is_refused_and_the_session_goes_on() {
    let gateway = patient_gateway().await;
    let client = polling_client(&gateway).await;
    let mut socket = upgraded(&gateway, &client).await;
    let events = gateway.announcer().await.announce(CHURCH, 1, "").await;
    assert_eq!(next_event(&mut socket).await, events[0]);
    assert_eq!(client.poll().await.0, StatusCode::BAD_REQUEST);
    assert_eq!(client.post(PONG).await.0, StatusCode::BAD_REQUEST);
    let events = gateway.announcer().await.announce(CHURCH, 1, "").await;
    assert_eq!(next_event(&mut socket).await, events[0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_websocket_for_an_upgraded_session_is_closed() {
    let gateway = patient_gateway().await;
    let client = polling_client(&gateway).await;
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

/// Node's server continues by polling in this case. Our library ends the session, and the client resumes in a new one.
#[tokio::test(flavor = "multi_thread")]
async fn a_failed_upgrade_ends_the_session_and_loses_no_event() {
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
