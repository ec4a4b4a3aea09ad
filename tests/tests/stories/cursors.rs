//! A cursor is opaque to clients, so the gateway must handle any value.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use tests::client::Client;
use tests::databases::Kind;
use tests::load::socketio;
use tests::proxy::Proxy;
use tests::stack::TestStack;
use uuid::Uuid;

use super::{AUTHOR, CHURCH};

/// Offsets of a cursor's parts: the stream's creation, the sequence, eight bytes of the event.
const CREATION: usize = 1;
const SEQUENCE: usize = 9;
const EVENT: usize = 17;

/// A cursor with one of its eight-byte numbers changed.
fn forged(cursor: &str, place: usize, change: impl Fn(u64) -> u64) -> Value {
    let mut bytes = URL_SAFE_NO_PAD.decode(cursor).unwrap();
    let number = u64::from_be_bytes(bytes[place..place + 8].try_into().unwrap());
    bytes[place..place + 8].copy_from_slice(&change(number).to_be_bytes());
    json!(URL_SAFE_NO_PAD.encode(bytes))
}

/// Length of a value that still fits into the largest message together with a token.
const LONG: usize = 12 << 10;

/// Values that are no cursor of this church in this stream.
fn bad_cursors(good: &str, of_another: &str) -> Vec<(&'static str, Value)> {
    vec![
        ("garbage", json!("gar bage/äöü")),
        ("empty", json!("")),
        ("another church's", json!(of_another)),
        ("above the head", forged(good, SEQUENCE, |sequence| sequence + 1_000)),
        ("as high as can be", forged(good, SEQUENCE, |_| u64::MAX)),
        ("before the first", forged(good, SEQUENCE, |_| 0)),
        ("of an older stream", forged(good, CREATION, |created| created - 1)),
        ("of a newer stream", forged(good, CREATION, |created| created + 1)),
        ("of another event", forged(good, EVENT, |event| event ^ 1)),
        ("truncated", json!(&good[..good.len() - 4])),
        ("longer", json!(format!("{good}AAAA"))),
        ("a number", json!(42)),
        ("an object", json!({"cursor": good})),
        ("a list", json!([good])),
        ("as long as a message may be", json!("A".repeat(LONG))),
        ("as many good ones", json!(good.repeat(LONG / good.len()))),
    ]
}

/// Connects a socket. Also returns its `connected`.
async fn join(address: SocketAddr, token: &str, cursor: &Value) -> (socketio::Client, Value) {
    let mut client =
        socketio::Client::connect(address, &json!({"token": token, "cursor": cursor})).await.unwrap();
    let first = client.next().await.unwrap().unwrap();
    assert_eq!(first.name(), "connected");
    (client, first.read().unwrap())
}

/// Fails unless the gateway still runs and has not panicked.
fn assert_unharmed(stack: &mut TestStack) {
    assert!(stack.stack.is_running("realtime-gateway-1"));
    let log = std::fs::read_to_string(stack.stack.log("realtime-gateway-1")).unwrap();
    assert!(!log.contains("panicked"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_or_malformed_cursor_gets_recovered_false() {
    let mut stack = TestStack::start(Kind::Sqlite).await;
    let announcer = stack.announcer().await;
    let (mut client, mut other) = (stack.client(CHURCH, AUTHOR).await, stack.client("hope", AUTHOR).await);
    let events = announcer.announce(CHURCH, 5, "").await;
    let of_another = announcer.announce("hope", 5, "").await;
    client.until_event(events[4]).await;
    other.until_event(of_another[4]).await;
    let cursors = bad_cursors(&client.cursor().unwrap(), &other.cursor().unwrap());

    let (address, token) = (stack.gateway_address(0), stack.token(CHURCH, AUTHOR));
    let mut joined = Vec::new();
    for (what, cursor) in cursors {
        let (socket, told) = join(address, &token, &cursor).await;
        assert_eq!(told["recovered"], false, "{what}");
        joined.push((what, socket));
    }
    // The next event that each socket receives is the next event of its church.
    announcer.announce("hope", 1, "").await;
    let next = announcer.announce(CHURCH, 1, "").await[0];
    for (what, socket) in &mut joined {
        let event = socket.next().await.unwrap().unwrap().read::<Value>().unwrap();
        assert_eq!(event["eventId"], json!(next), "{what}");
    }
    client.until_event(next).await;
    assert_eq!(client.recovered(), [false], "no other client was closed");
    assert_unharmed(&mut stack);
}

/// Reads this many whole events. Returns their ids and updates the cursor.
async fn see(socket: &mut socketio::Client, count: usize, cursor: &mut Value) -> Vec<Uuid> {
    let mut whole = Vec::new();
    while whole.len() < count {
        let event = socket.next().await.unwrap().unwrap().read::<Value>().unwrap();
        if event["cursor"].is_string() {
            *cursor = event["cursor"].clone();
            whole.push(event["eventId"].as_str().unwrap().parse().unwrap());
        }
    }
    whole
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_resumes_in_a_row_deliver_every_event_once() {
    let mut stack = TestStack::start(Kind::Sqlite).await;
    let (address, token) = (stack.gateway_address(0), stack.token(CHURCH, AUTHOR));
    let (_, told) = join(address, &token, &Value::Null).await;
    let mut cursor = told["cursor"].clone();
    let announcer = stack.announcer().await;
    let announcing = async {
        let mut events = Vec::new();
        for _ in 0..30 {
            events.extend(announcer.announce(CHURCH, 10, "").await);
        }
        events
    };
    let resuming = async {
        let mut seen = Vec::new();
        for _ in 0..100 {
            let (mut socket, told) = join(address, &token, &cursor).await;
            assert_eq!((&told["recovered"], &told["cursor"]), (&json!(true), &cursor));
            seen.extend(see(&mut socket, 3, &mut cursor).await);
        }
        seen
    };
    let (events, seen) = tokio::join!(announcing, resuming);
    assert_eq!(seen, events);
    // A hundred more resumes without new events.
    for _ in 0..100 {
        let (_, told) = join(address, &token, &cursor).await;
        assert_eq!((&told["recovered"], &told["cursor"]), (&json!(true), &cursor));
    }
    assert_unharmed(&mut stack);
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_dropped_connections_in_a_row_lose_no_event() {
    let stack = TestStack::start(Kind::Sqlite).await;
    let proxy = Proxy::to(&stack.stack.file().gateways[0]).await;
    let arguments = ["--delay", "20"];
    let mut client = Client::start(&proxy.url(), &stack.token(CHURCH, AUTHOR), &arguments).await;
    client.until("connected").await;
    let announcer = stack.announcer().await;
    let mut events = Vec::new();
    for drop in 0..50 {
        // Some events arrive before the drop, some are in flight, and some come while the client is away.
        events.extend(announcer.announce(CHURCH, 1 + drop % 3, "").await);
        if drop % 2 == 0 {
            client.until_event(events[events.len() - 1]).await;
        }
        proxy.cut();
        events.extend(announcer.announce(CHURCH, drop % 4, "").await);
        client.until("connected").await;
    }
    client.until_event(events[events.len() - 1]).await;
    assert_eq!(client.whole_events(), events);
    let recovered = client.recovered();
    assert_eq!(recovered.len(), 51);
    assert!(recovered[1..].iter().all(|recovered| *recovered), "{recovered:?}");
    let different: BTreeSet<_> = events.iter().collect();
    assert_eq!(different.len(), events.len());
}
