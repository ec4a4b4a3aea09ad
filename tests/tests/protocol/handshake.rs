//! Opening an Engine.IO session, and requests that open none.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tests::gateway::TestGateway;

use crate::polling::{Polling, url};
use crate::websocket::Websocket;

const GATEWAY: &[(&str, &str)] = &[("GATEWAY_PING_INTERVAL", "25000"), ("GATEWAY_PING_TIMEOUT", "20000")];
/// Queries with an unsupported protocol version; `{}` stands for a transport.
const OTHER_VERSIONS: [&str; 6] = [
    "transport={}",
    "EIO=&transport={}",
    "EIO=abc&transport={}",
    "EIO=3&transport={}",
    "EIO=5&transport={}",
    "EIO=44&transport={}",
];
/// Queries with an unsupported transport.
const OTHER_TRANSPORTS: [&str; 4] =
    ["EIO=4", "EIO=4&transport=", "EIO=4&transport=abc", "EIO=4&transport=webtransport"];
/// The id of a session that does not exist.
const NO_SESSION: &str = "AAAAAAAAAAAAAAAA";

async fn ask(gateway: &TestGateway, method: Method, query: &str) -> StatusCode {
    gateway.http().request(method, url(gateway, query)).send().await.unwrap().status()
}

fn assert_opens(opened: &Value, upgrades: &Value) {
    let mut fields: Vec<_> = opened.as_object().unwrap().keys().collect();
    fields.sort();
    assert_eq!(fields, ["maxPayload", "pingInterval", "pingTimeout", "sid", "upgrades"]);
    assert!(!opened["sid"].as_str().unwrap().is_empty());
    assert_eq!(&opened["upgrades"], upgrades);
    assert_eq!((&opened["pingInterval"], &opened["pingTimeout"]), (&json!(25_000), &json!(20_000)));
    assert!(opened["maxPayload"].as_u64().unwrap() >= 8_192, "a token fits: {opened}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_opens_on_each_transport_with_its_parameters() {
    let gateway = TestGateway::start(GATEWAY).await;
    let first = Polling::open(&gateway).await;
    assert_opens(&first.opened, &json!(["websocket"]));
    let second = Polling::open(&gateway).await;
    assert_ne!(first.sid(), second.sid());
    let (_open, opened) = Websocket::open_with(&gateway, "EIO=4&transport=websocket").await;
    assert_opens(&opened, &json!([]));
    // The stock client adds a parameter that defeats caches.
    Polling::open_with(&gateway, "EIO=4&transport=polling&t=PZ1x3d").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unsupported_protocol_version_is_refused() {
    let gateway = TestGateway::start(GATEWAY).await;
    for query in OTHER_VERSIONS {
        let polling = query.replace("{}", "polling");
        assert_eq!(ask(&gateway, Method::GET, &polling).await, StatusCode::BAD_REQUEST, "{polling}");
        let websocket = query.replace("{}", "websocket");
        let refused = Websocket::request(&gateway, &websocket).await.err();
        assert_eq!(refused, Some(StatusCode::BAD_REQUEST), "{websocket}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unsupported_transport_is_refused() {
    let gateway = TestGateway::start(GATEWAY).await;
    for query in OTHER_TRANSPORTS {
        assert_eq!(ask(&gateway, Method::GET, query).await, StatusCode::BAD_REQUEST, "{query}");
        let refused = Websocket::request(&gateway, query).await.err();
        assert_eq!(refused, Some(StatusCode::BAD_REQUEST), "websocket, {query}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_get_opens_a_session() {
    let gateway = TestGateway::start(GATEWAY).await;
    for method in [Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
        let status = ask(&gateway, method.clone(), "EIO=4&transport=polling").await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{method}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_session_id_is_refused_on_each_transport() {
    let gateway = TestGateway::start(GATEWAY).await;
    for sid in [NO_SESSION, "", "abc", "%20", "../../etc"] {
        let query = format!("EIO=4&transport=polling&sid={sid}");
        assert_eq!(ask(&gateway, Method::GET, &query).await, StatusCode::BAD_REQUEST, "{sid}");
        assert_eq!(ask(&gateway, Method::POST, &query).await, StatusCode::BAD_REQUEST, "{sid}");
        // The websocket may open before the session is looked up. It closes without a frame.
        if let Ok(mut socket) =
            Websocket::request(&gateway, &format!("EIO=4&transport=websocket&sid={sid}")).await
        {
            assert_eq!(socket.frame().await, None, "{sid}");
        }
    }
}
