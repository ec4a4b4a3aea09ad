//! Refreshing a token, and the ways to send one.

use std::time::Duration;

use serde_json::json;
use tests::client::Client;
use tests::gateway::TestGateway;

use super::{CHURCH, HOUR};

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_with_a_token_no_newer_than_the_current_one_is_refused() {
    let gateway = TestGateway::start(&[]).await;
    // The client gets `auth:expiring` at once and sends the same token again.
    let token = gateway.token(CHURCH, "first", Duration::from_secs(50));
    let mut client = Client::start(&gateway.url(), &token, &["--refresh"]).await;
    let answer = client.until("auth:refreshed").await.data;
    let error = "the token is no newer than the one in use, send a fresh one";
    assert_eq!(answer, json!({"ok": false, "error": error}));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_may_carry_a_bearer_prefix_wherever_it_is_sent() {
    let gateway = TestGateway::start(&[]).await;
    for place in ["auth", "query"] {
        let token = format!("Bearer {}", gateway.token(CHURCH, place, HOUR));
        let mut client = Client::start(&gateway.url(), &token, &["--token-in", place]).await;
        assert_eq!(client.until("connected").await.data["userId"], place);
    }
}
