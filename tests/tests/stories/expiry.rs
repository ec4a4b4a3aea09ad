//! A token ends, is replaced on the living connection, or is fresh when the client is back.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};
use tests::client::Client;
use tests::databases::Kind;
use tests::eventually;
use tests::proxy::Proxy;
use tests::stack::TestStack;
use time::OffsetDateTime;

use super::{AUTHOR, CHURCH, SILENT};

/// A token that expired so long ago is still accepted, for twenty seconds: long enough to connect on a busy machine.
const ENDS_SOON: i64 = -10;
/// Until it has surely ended.
const ENDED: Duration = Duration::from_secs(21);

/// A token with an end that is so far away, in seconds; negative in the past.
fn token(stack: &TestStack, church: &str, user: &str, expires_in: i64) -> String {
    let exp = OffsetDateTime::now_utc().unix_timestamp() + expires_in;
    stack.token_with(&json!({"userId": user, "churchId": church, "exp": exp}))
}

fn has_seen(client: &Client, event: &str) -> bool {
    client.seen().iter().any(|seen| seen.event == event)
}

#[tokio::test(flavor = "multi_thread")]
async fn when_a_token_ends_the_transport_closes_and_the_client_comes_back_with_its_next_one() {
    let stack = TestStack::start(Kind::Sqlite).await;
    let gateway = &stack.stack.file().gateways[0];
    let clients = ["websocket", "polling", "polling,websocket"].map(async |transports| {
        let tokens = [token(&stack, CHURCH, transports, ENDS_SOON), stack.token(CHURCH, transports)];
        let mut client = Client::start(gateway, &tokens.join(","), &["--transports", transports]).await;
        client.until("connected").await;
        // A Socket.IO disconnect would be called `io server disconnect`, and the client would stay away. Who polls finds
        // its session gone, and may call that an error.
        let ended = client.until("disconnect").await.data["reason"].to_string();
        assert!(ended.starts_with("\"transport "), "{transports}: {ended}");
        assert_eq!(client.until("connected").await.data["recovered"], true, "{transports}");
        client
    });
    let clients = join_all(clients).await;
    let message = stack.send(CHURCH, AUTHOR, &[SILENT]).await;
    for mut client in clients {
        assert_eq!(client.until("message:sent").await.data["messageId"], json!(message));
        assert!(!has_seen(&client, "connect_error"));
    }
    let ops = &stack.stack.file().ops.gateways[0];
    assert_eq!(stack.metric(ops, r#"church_gateway_closes_total{reason="token_expired"}"#).await, 3.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_laptop_that_slept_through_its_tokens_end_is_back_without_a_hole() {
    let stack = TestStack::start(Kind::Sqlite).await;
    let gateway = &stack.stack.file().gateways[0];
    let proxy = Proxy::to(gateway).await;
    let short = token(&stack, CHURCH, AUTHOR, ENDS_SOON);
    let end = OffsetDateTime::now_utc() + ENDED;
    // What ended while it slept is what it tries first.
    let tokens = [short.clone(), short.clone(), stack.token(CHURCH, AUTHOR)].join(",");
    let mut client = Client::start(&proxy.url(), &tokens, &["--delay", "100"]).await;
    client.until("connected").await;
    let mut events = stack.announcer().await.announce(CHURCH, 3, "").await;
    client.until_event(events[2]).await;
    proxy.lead_to("http://127.0.0.1:1");
    client.until("disconnect").await;

    events.extend(stack.announcer().await.announce(CHURCH, 20, "").await);
    eventually("the token has ended", async || (OffsetDateTime::now_utc() > end).then_some(())).await;
    proxy.lead_to(gateway);
    let refused = |seen: &deploy::watch::Seen| seen.data["message"] == "Authentication error: token expired";
    client.until_one(refused).await;
    assert_eq!(client.until("connected").await.data["recovered"], true);
    client.until_event(events[events.len() - 1]).await;
    assert_eq!(client.whole_events(), events);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_minute_before_a_token_ends_the_client_is_told_of_it() {
    let stack = TestStack::start(Kind::Sqlite).await;
    let exp = OffsetDateTime::now_utc() + Duration::from_secs(62);
    let token = stack.stack.token(CHURCH, AUTHOR, Duration::from_secs(62)).unwrap();
    let mut client = Client::start(&stack.stack.file().gateways[0], &token, &[]).await;
    let told = client.until("auth:expiring").await;
    assert!((told.data["exp"].as_i64().unwrap() - exp.unix_timestamp()).abs() <= 1, "{}", told.data);
    assert!(told.at < exp, "it is told in time");
    assert_eq!(told.data["type"], "auth:expiring");
    assert!(!has_seen(&client, "disconnect"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_whose_token_is_replaced_outlives_the_first_one() {
    let stack = TestStack::start(Kind::Sqlite).await;
    let gateway = &stack.stack.file().gateways[0];
    let short = token(&stack, CHURCH, AUTHOR, ENDS_SOON);
    let long = token(&stack, CHURCH, AUTHOR, 600);
    let mut refreshes = Client::start(gateway, &[&*short, &long].join(","), &["--refresh"]).await;
    let mut does_not = Client::start(gateway, &token(&stack, CHURCH, AUTHOR, ENDS_SOON + 1), &[]).await;
    let answer = refreshes.until("auth:refreshed").await.data;
    assert_eq!(answer["ok"], true, "{answer}");
    assert!(answer["exp"].as_i64().unwrap() > OffsetDateTime::now_utc().unix_timestamp() + 500, "{answer}");

    // The other one's token ends later than the first one's was to.
    does_not.until("disconnect").await;
    let events = stack.announcer().await.announce(CHURCH, 1, "").await;
    refreshes.until_event(events[0]).await;
    assert!(!has_seen(&refreshes, "disconnect"));
    assert_eq!(refreshes.recovered(), [false]);
}

/// Tokens that replace none, and what is said of each.
fn refused_tokens(stack: &TestStack) -> Vec<(String, &'static str)> {
    let another = "Authentication error: token of another user";
    vec![
        (token(stack, CHURCH, "deacon", 600), another),
        (token(stack, "hope", AUTHOR, 600), another),
        (token(stack, CHURCH, AUTHOR, -31), "Authentication error: token expired"),
        ("garbage".into(), "Authentication error: invalid token"),
        (String::new(), "Authentication error: missing token"),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_another_user_or_church_or_none_replaces_nothing_and_the_old_end_stays() {
    let stack = TestStack::start(Kind::Sqlite).await;
    let gateway = &stack.stack.file().gateways[0];
    join_all(refused_tokens(&stack).into_iter().map(async |(fresh, error)| {
        let tokens = [token(&stack, CHURCH, AUTHOR, ENDS_SOON), fresh, stack.token(CHURCH, AUTHOR)];
        let mut client = Client::start(gateway, &tokens.join(","), &["--refresh"]).await;
        let answer: Value = client.until("auth:refreshed").await.data;
        assert_eq!(answer, json!({"ok": false, "error": error}));
        assert_eq!(client.until("disconnect").await.data["reason"], "transport close", "{error}");
        let back = client.until("connected").await.data;
        assert_eq!((&back["churchId"], &back["userId"]), (&json!(CHURCH), &json!(AUTHOR)));
        assert_eq!(back["recovered"], true, "{error}");
    }))
    .await;
}
