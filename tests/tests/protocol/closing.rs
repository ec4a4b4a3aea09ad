//! A client that says goodbye to Engine.IO itself.

use reqwest::StatusCode;

use crate::packet::{CLOSE, NOOP};
use crate::polling::Polling;
use crate::{patient_gateway, polling_member, websocket_member};

const CLOSED: &str = r#"church_gateway_disconnects_total{reason="transport_close"}"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_goodbye_by_post_ends_the_session_and_frees_its_poll() {
    let gateway = patient_gateway().await;
    // Which of two requests comes first is up to the network, so it is tried until the poll was there.
    for _ in 0..50 {
        let client = Polling::open(&gateway).await;
        client.past_first_ping().await;
        let (poll, post) = tokio::join!(client.poll(), client.post(CLOSE));
        assert_eq!(post, (StatusCode::OK, "ok".into()));
        assert_eq!(client.poll().await.0, StatusCode::BAD_REQUEST);
        if poll.0 == StatusCode::OK {
            return assert_eq!(poll.1, NOOP);
        }
        assert_eq!(poll.0, StatusCode::BAD_REQUEST);
    }
    panic!("no poll was there before the goodbye");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_goodbye_frees_the_seat_on_each_transport() {
    let gateway = patient_gateway().await;
    let (polls, mut talks) = (polling_member(&gateway).await, websocket_member(&gateway).await);
    gateway.until_count("church_gateway_sockets", 2.0).await;
    polls.send(&[CLOSE]).await;
    polls.until_closed().await;
    talks.send(CLOSE).await;
    talks.until_closed().await;
    gateway.until_count("church_gateway_sockets", 0.0).await;
    gateway.until_count(CLOSED, 2.0).await;
}
