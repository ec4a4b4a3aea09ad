//! Socket.IO's events from a client: acknowledged where there is something to say, else ignored.

use crate::{CHURCH, HOUR, json_after, patient_gateway, websocket_member};

#[tokio::test(flavor = "multi_thread")]
async fn an_event_with_a_number_is_acknowledged_with_that_number() {
    let gateway = patient_gateway().await;
    let mut client = websocket_member(&gateway).await;
    let longer = gateway.token(CHURCH, "ann", HOUR * 2);
    client.send(&format!(r#"42456["auth:refresh",{{"token":"{longer}"}}]"#)).await;
    let acknowledged = json_after("43456", &client.next().await.unwrap());
    assert_eq!(acknowledged[0]["ok"], true, "{acknowledged}");
    assert!(acknowledged[0]["exp"].is_i64());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_with_binary_data_is_taken_whole_with_and_without_a_number() {
    let gateway = patient_gateway().await;
    let mut client = websocket_member(&gateway).await;
    client.send(r#"452-["message",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]"#).await;
    client.send_binary(&[1, 2, 3]).await;
    assert_eq!(gateway.count("church_gateway_unknown_events_total").await, 0.0, "one part is missing");
    client.send_binary(&[4, 5, 6]).await;
    gateway.until_count("church_gateway_unknown_events_total", 1.0).await;

    client
        .send(r#"452-789["auth:refresh",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]"#)
        .await;
    client.send_binary(&[1, 2, 3]).await;
    client.send_binary(&[4, 5, 6]).await;
    let acknowledged = json_after("43789", &client.next().await.unwrap());
    assert_eq!(acknowledged[0]["ok"], false, "binary data is no token: {acknowledged}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_means_nothing_here_is_not_acknowledged() {
    let gateway = patient_gateway().await;
    let mut client = websocket_member(&gateway).await;
    client.send(r#"421["message-with-ack",1,"2",{"3":[false]}]"#).await;
    gateway.until_count("church_gateway_unknown_events_total", 1.0).await;
    client.send(r#"422["auth:refresh"]"#).await;
    assert!(client.next().await.unwrap().starts_with("432["));
}

#[tokio::test(flavor = "multi_thread")]
async fn packets_that_can_not_be_read_end_the_connection() {
    let gateway = patient_gateway().await;
    let wrong =
        ["4abc", "4", "49", "42", "42{}", r#"42abc["message",1,"2"]"#, "42[]", "42[1]", "42[", "43[]"];
    for packet in wrong {
        let mut client = websocket_member(&gateway).await;
        client.send(packet).await;
        client.until_closed().await;
    }
    gateway.until_count("church_gateway_sockets", 0.0).await;
    gateway.until_count(r#"church_gateway_disconnects_total{reason="bad_packet"}"#, wrong.len() as f64).await;
}
