//! Limits: a full gateway says so, a misbehaving client is closed, and no other client is affected.

use std::net::SocketAddr;

use deploy::stack::StackOptions;
use futures_util::future::join_all;
use reqwest::Response;
use serde_json::{Value, json};
use tests::client::Client;
use tests::databases::Kind;
use tests::eventually;
use tests::load::socketio;
use tests::stack::TestStack;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::{AUTHOR, CHURCH};

/// A stack with one gateway per list of settings.
async fn gateways(settings: &[&[(&str, &str)]]) -> TestStack {
    TestStack::start_with(Kind::Sqlite, |options: &mut StackOptions| {
        options.gateways = settings.len();
        for (number, of_gateway) in (1..).zip(settings) {
            let set = |(name, value): &(&str, &str)| {
                (deploy::services::gateway(number), (*name).to_owned(), (*value).to_owned())
            };
            options.environment.extend(of_gateway.iter().map(set));
        }
    })
    .await
}

async fn raw(stack: &TestStack, number: usize, church: &str, user: &str) -> socketio::Client {
    let auth = json!({"token": stack.token(church, user)});
    let mut client = socketio::Client::connect(stack.gateway_address(number), &auth).await.unwrap();
    assert_eq!(client.next().await.unwrap().unwrap().name(), "connected");
    client
}

/// Requests a session with this `X-Forwarded-For`.
async fn handshake(stack: &TestStack, number: usize, forwarded_for: &str) -> Response {
    let url = format!("{}/socket.io/?EIO=4&transport=polling", stack.stack.file().gateways[number]);
    let request = stack.stack.http().get(url).header("connection", "close");
    request.header("x-forwarded-for", forwarded_for).send().await.unwrap()
}

fn assert_put_off(answer: &Response) {
    assert_eq!(answer.status(), 503);
    assert_eq!(answer.headers()["retry-after"], "1");
}

async fn refusals(stack: &TestStack, number: usize, reason: &str) -> f64 {
    let name = format!("church_gateway_refusals_total{{reason=\"{reason}\"}}");
    stack.count(&stack.stack.file().ops.gateways[number], &name).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_gateway_answers_503_with_retry_after_until_a_place_is_free() {
    let stack = gateways(&[&[("GATEWAY_MAX_CONNECTIONS", "2")]]).await;
    let (_stays, leaves) = (raw(&stack, 0, CHURCH, "one").await, raw(&stack, 0, CHURCH, "two").await);
    assert_put_off(&handshake(&stack, 0, "").await);
    let url = &stack.stack.file().gateways[0];
    let mut waits = Client::start(url, &stack.token(CHURCH, "three"), &["--delay", "100"]).await;
    waits.until("connect_error").await;
    assert!(refusals(&stack, 0, "connections").await >= 2.0);
    drop(leaves);
    waits.until("connected").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_beyond_the_rate_get_503_and_connect_later_by_themselves() {
    let stack = gateways(&[&[("GATEWAY_CONNECTS_PER_SECOND", "1")]]).await;
    let answers = join_all((0..20).map(|_| handshake(&stack, 0, ""))).await;
    let (let_in, put_off): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status().is_success());
    assert!(!let_in.is_empty() && !put_off.is_empty(), "{} were let in", let_in.len());
    put_off.iter().for_each(|answer| assert_put_off(answer));
    assert_eq!(refusals(&stack, 0, "rate").await, put_off.len() as f64);
    let url = &stack.stack.file().gateways[0];
    let mut waits = Client::start(url, &stack.token(CHURCH, AUTHOR), &["--delay", "100"]).await;
    waits.until("connected").await;
}

/// Checks that the third client waits until the second leaves. The fourth client belongs to others and connects at
/// once.
async fn the_third_waits_for_the_second(
    stack: &TestStack,
    number: usize,
    of: [(&str, &str); 4],
    reason: &str,
) {
    let [first, second, third, fourth] = of;
    let _stays = raw(stack, number, first.0, first.1).await;
    let leaves = raw(stack, number, second.0, second.1).await;
    let (url, token) = (&stack.stack.file().gateways[number], stack.token(third.0, third.1));
    let mut waits = Client::start(url, &token, &["--delay", "100"]).await;
    assert_eq!(waits.until("disconnect").await.data["reason"], "transport close");
    assert!(waits.recovered().is_empty());
    assert!(refusals(stack, number, reason).await >= 1.0);
    raw(stack, number, fourth.0, fourth.1).await;
    drop(leaves);
    waits.until("connected").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_church_or_user_at_its_socket_limit_waits_for_one_of_its_own() {
    let (church, user) = (("GATEWAY_MAX_CHURCH_SOCKETS", "2"), ("GATEWAY_MAX_USER_SOCKETS", "2"));
    let stack = gateways(&[&[church], &[user]]).await;
    let of_church = [(CHURCH, "one"), (CHURCH, "two"), (CHURCH, "three"), ("hope", "one")];
    // The same user id in two churches is two users.
    let of_user = [(CHURCH, "one"), (CHURCH, "one"), (CHURCH, "one"), ("hope", "one")];
    tokio::join!(
        the_third_waits_for_the_second(&stack, 0, of_church, "church"),
        the_third_waits_for_the_second(&stack, 1, of_user, "user"),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_in_the_query_is_checked_against_limits_before_the_handshake() {
    let stack = gateways(&[&[("GATEWAY_MAX_USER_SOCKETS", "1")]]).await;
    let _stays = raw(&stack, 0, CHURCH, "one").await;
    let ask = async |user: &str| {
        let (gateway, token) = (&stack.stack.file().gateways[0], stack.token(CHURCH, user));
        let url = format!("{gateway}/socket.io/?EIO=4&transport=polling&token={token}");
        stack.stack.http().get(url).send().await.unwrap()
    };
    assert_put_off(&ask("one").await);
    assert_eq!(ask("two").await.status(), 200);
    assert_eq!(refusals(&stack, 0, "user").await, 1.0);
}

/// Connects a polling client with this `X-Forwarded-For`.
async fn connect_polling(stack: &TestStack, number: usize, forwarded_for: &str) {
    let opened = handshake(stack, number, forwarded_for).await;
    assert_eq!(opened.status(), 200, "{forwarded_for}");
    let opened: Value = serde_json::from_str(&opened.text().await.unwrap()[1..]).unwrap();
    let (gateway, sid) = (&stack.stack.file().gateways[number], opened["sid"].as_str().unwrap());
    let url = format!("{gateway}/socket.io/?EIO=4&transport=polling&sid={sid}");
    let connect = format!("40{}", json!({"token": stack.token(CHURCH, AUTHOR)}));
    let http = stack.stack.http();
    assert_eq!(http.post(&url).body(connect).send().await.unwrap().status(), 200);
    eventually("the client is connected", async || {
        let packets = http.get(&url).send().await.unwrap().text().await.unwrap();
        packets.contains("connected").then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_trusted_proxy_may_name_the_client_address() {
    let one = ("GATEWAY_MAX_ADDRESS_SOCKETS", "1");
    let stack = gateways(&[&[one, ("TRUSTED_PROXIES", "127.0.0.0/8")], &[one]]).await;
    connect_polling(&stack, 0, "203.0.113.1").await;
    assert_put_off(&handshake(&stack, 0, "203.0.113.1").await);
    // The client's own claim comes before the proxy's entry.
    assert_put_off(&handshake(&stack, 0, "198.51.100.7, 203.0.113.1").await);
    connect_polling(&stack, 0, "203.0.113.2").await;
    assert_eq!(refusals(&stack, 0, "address").await, 2.0);

    connect_polling(&stack, 1, "203.0.113.1").await;
    assert_put_off(&handshake(&stack, 1, "203.0.113.2").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn client_events_are_counted_and_ignored_and_an_oversized_one_closes_it() {
    let stack = gateways(&[&[("GATEWAY_MAX_MESSAGE", "10000")]]).await;
    let mut stock = stack.client(CHURCH, AUTHOR).await;
    let (mut talks, mut shouts) =
        (raw(&stack, 0, CHURCH, "talks").await, raw(&stack, 0, CHURCH, "shouts").await);
    for name in ["message:sent", "join", "connected", "subscribe"] {
        talks.emit(name, &json!({"churchId": "hope", "text": "x".repeat(5_000)})).await.unwrap();
    }
    let ops = &stack.stack.file().ops.gateways[0];
    eventually("all client events are counted", async || {
        (stack.metric(ops, "church_gateway_unknown_events_total").await == 4.0).then_some(())
    })
    .await;

    shouts.emit("join", &json!("x".repeat(20_000))).await.unwrap();
    assert!(!matches!(shouts.next().await, Ok(Some(_))), "the connection ends");
    eventually("the socket is removed", async || {
        (stack.metric(ops, "church_gateway_sockets").await == 2.0).then_some(())
    })
    .await;
    assert_eq!(stack.metric(ops, "church_gateway_unknown_events_total").await, 4.0);

    let events = stack.announcer().await.announce(CHURCH, 1, "").await;
    stock.until_event(events[0]).await;
    assert_eq!(stock.recovered(), [false]);
    assert_eq!(stock.packets().count(), 2, "client events are not passed on");
    let next: Value = talks.next().await.unwrap().unwrap().read().unwrap();
    assert_eq!(next["eventId"], json!(events[0]));
}

/// Sends a text and reads until the gateway closes the connection. Returns what it read.
async fn until_closed(address: SocketAddr, words: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(words.as_bytes()).await.unwrap();
    let mut heard = Vec::new();
    // Ending with an error is fine, too.
    let _ = stream.read_to_end(&mut heard).await;
    String::from_utf8_lossy(&heard).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_never_complete_a_handshake_are_closed() {
    let stack = gateways(&[&[]]).await;
    let mut stays = stack.client(CHURCH, AUTHOR).await;
    let at = stack.gateway_address(0);
    let begun = "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: gateway\r\n";
    let upgrade = format!(
        "{begun}Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    let (silent, slow, without_token) =
        tokio::join!(until_closed(at, ""), until_closed(at, begun), until_closed(at, &upgrade));
    assert_eq!((silent.as_str(), slow.as_str()), ("", ""));
    assert!(without_token.starts_with("HTTP/1.1 101 "), "{without_token}");
    assert!(without_token.contains("pingInterval"), "{without_token}");
    let events = stack.announcer().await.announce(CHURCH, 1, "").await;
    stays.until_event(events[0]).await;
    assert_eq!(stays.recovered(), [false], "no other client was closed");
}
