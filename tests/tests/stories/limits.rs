//! A gateway that is full says so, a client that misbehaves is out, and neither is anybody else's trouble.

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

/// A stack with a gateway for each of these settings.
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

/// Asks for a session, and says in which name.
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
async fn a_gateway_with_all_its_connections_says_when_to_come_again_and_lets_in_who_waited() {
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
async fn new_sessions_beyond_the_rate_are_put_off_and_get_in_by_themselves() {
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

/// The third who comes finds no seat, and has one as soon as another is free. The fourth is somebody else's.
async fn the_third_waits(stack: &TestStack, number: usize, of: [(&str, &str); 4], reason: &str) {
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
async fn a_church_and_a_user_with_all_their_sockets_wait_for_one_of_their_own_to_leave() {
    let (church, user) = (("GATEWAY_MAX_CHURCH_SOCKETS", "2"), ("GATEWAY_MAX_USER_SOCKETS", "2"));
    let stack = gateways(&[&[church], &[user]]).await;
    let of_church = [(CHURCH, "one"), (CHURCH, "two"), (CHURCH, "three"), ("hope", "one")];
    // Users of the same name in two churches are two.
    let of_user = [(CHURCH, "one"), (CHURCH, "one"), (CHURCH, "one"), ("hope", "one")];
    tokio::join!(
        the_third_waits(&stack, 0, of_church, "church"),
        the_third_waits(&stack, 1, of_user, "user"),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn whose_token_is_in_the_address_is_put_off_before_the_handshake() {
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

/// Takes a seat by polling, in the name of an address.
async fn sit(stack: &TestStack, number: usize, forwarded_for: &str) {
    let opened = handshake(stack, number, forwarded_for).await;
    assert_eq!(opened.status(), 200, "{forwarded_for}");
    let opened: Value = serde_json::from_str(&opened.text().await.unwrap()[1..]).unwrap();
    let (gateway, sid) = (&stack.stack.file().gateways[number], opened["sid"].as_str().unwrap());
    let url = format!("{gateway}/socket.io/?EIO=4&transport=polling&sid={sid}");
    let connect = format!("40{}", json!({"token": stack.token(CHURCH, AUTHOR)}));
    let http = stack.stack.http();
    assert_eq!(http.post(&url).body(connect).send().await.unwrap().status(), 200);
    eventually("it has its seat", async || {
        let packets = http.get(&url).send().await.unwrap().text().await.unwrap();
        packets.contains("connected").then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sockets_are_counted_by_the_address_that_a_trusted_proxy_names_and_no_other() {
    let one = ("GATEWAY_MAX_ADDRESS_SOCKETS", "1");
    let stack = gateways(&[&[one, ("TRUSTED_PROXIES", "127.0.0.0/8")], &[one]]).await;
    sit(&stack, 0, "203.0.113.1").await;
    assert_put_off(&handshake(&stack, 0, "203.0.113.1").await);
    // What it claims of itself stands before what the proxy says.
    assert_put_off(&handshake(&stack, 0, "198.51.100.7, 203.0.113.1").await);
    sit(&stack, 0, "203.0.113.2").await;
    assert_eq!(refusals(&stack, 0, "address").await, 2.0);

    sit(&stack, 1, "203.0.113.1").await;
    assert_put_off(&handshake(&stack, 1, "203.0.113.2").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_client_says_is_ignored_and_counted_and_too_much_of_it_ends_its_connection_alone() {
    let stack = gateways(&[&[("GATEWAY_MAX_MESSAGE", "10000")]]).await;
    let mut stock = stack.client(CHURCH, AUTHOR).await;
    let (mut talks, mut shouts) =
        (raw(&stack, 0, CHURCH, "talks").await, raw(&stack, 0, CHURCH, "shouts").await);
    for name in ["message:sent", "join", "connected", "subscribe"] {
        talks.emit(name, &json!({"churchId": "hope", "text": "x".repeat(5_000)})).await.unwrap();
    }
    let ops = &stack.stack.file().ops.gateways[0];
    eventually("all that was said is counted", async || {
        (stack.metric(ops, "church_gateway_unknown_events_total").await == 4.0).then_some(())
    })
    .await;

    shouts.emit("join", &json!("x".repeat(20_000))).await.unwrap();
    assert!(!matches!(shouts.next().await, Ok(Some(_))), "the connection ends");
    eventually("its seat is free", async || {
        (stack.metric(ops, "church_gateway_sockets").await == 2.0).then_some(())
    })
    .await;
    assert_eq!(stack.metric(ops, "church_gateway_unknown_events_total").await, 4.0);

    let events = stack.announcer().await.announce(CHURCH, 1, "").await;
    stock.until_event(events[0]).await;
    assert_eq!(stock.recovered(), [false]);
    assert_eq!(stock.packets().count(), 2, "nobody hears what a client says");
    let next: Value = talks.next().await.unwrap().unwrap().read().unwrap();
    assert_eq!(next["eventId"], json!(events[0]));
}

/// Says this much to a gateway and reads until the gateway ends the connection; gives what it said.
async fn until_hung_up(address: SocketAddr, words: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(words.as_bytes()).await.unwrap();
    let mut heard = Vec::new();
    // However it ends, it ends.
    let _ = stream.read_to_end(&mut heard).await;
    String::from_utf8_lossy(&heard).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_never_say_what_they_want_are_ended() {
    let stack = gateways(&[&[]]).await;
    let mut stays = stack.client(CHURCH, AUTHOR).await;
    let at = stack.gateway_address(0);
    let begun = "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: gateway\r\n";
    let upgrade = format!(
        "{begun}Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    let (silent, slow, without_token) =
        tokio::join!(until_hung_up(at, ""), until_hung_up(at, begun), until_hung_up(at, &upgrade));
    assert_eq!((silent.as_str(), slow.as_str()), ("", ""));
    assert!(without_token.starts_with("HTTP/1.1 101 "), "{without_token}");
    assert!(without_token.contains("pingInterval"), "{without_token}");
    let events = stack.announcer().await.announce(CHURCH, 1, "").await;
    stays.until_event(events[0]).await;
    assert_eq!(stays.recovered(), [false], "nobody else was closed");
}
