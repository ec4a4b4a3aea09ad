//! The gateway's edge: what is not exactly a request of Engine.IO gets 400, and neither a stranger nor a member can hold
//! much of its memory or keep it busy.

use std::time::Duration;

use deploy::stack::StackOptions;
use futures_util::future::join_all;
use reqwest::StatusCode;
use serde_json::{Value, json};
use tests::client::Client;
use tests::databases::Kind;
use tests::eventually;
use tests::load::socketio::{self, Packets};
use tests::load::usage;
use tests::proxy::PlainProxy;
use tests::stack::TestStack;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{AUTHOR, CHURCH};

/// A websocket handshake's headers.
const HANDSHAKE: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
/// Where a session is opened on polling.
const OPEN: &str = "/socket.io/?EIO=4&transport=polling";

async fn stack(environment: &[(&str, &str)]) -> TestStack {
    TestStack::start_with(Kind::Sqlite, |options: &mut StackOptions| {
        let of_gateway =
            |(name, value): &(&str, &str)| ("realtime-gateway".into(), (*name).into(), (*value).into());
        options.environment.extend(environment.iter().map(of_gateway));
    })
    .await
}

fn gateway(stack: &TestStack) -> &str {
    &stack.stack.file().gateways[0]
}

fn ops(stack: &TestStack) -> &str {
    &stack.stack.file().ops.gateways[0]
}

/// The head of the answer to a request with these headers.
async fn ask(stack: &TestStack, target: &str, version: &str, headers: &str) -> String {
    let mut stream = TcpStream::connect(stack.gateway_address(0)).await.unwrap();
    let request = format!("GET {target} HTTP/{version}\r\nHost: gateway\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8(head).unwrap()
}

/// A session on polling, by its name and its address.
struct Polling<'a> {
    stack: &'a TestStack,
    url: String,
    sid: String,
}

impl<'a> Polling<'a> {
    /// Opens one, and says what it heard.
    async fn open(stack: &'a TestStack) -> (Self, Value) {
        let url = format!("{}{OPEN}", gateway(stack));
        let answer = stack.stack.http().get(&url).send().await.unwrap().text().await.unwrap();
        let opened: Value = serde_json::from_str(&answer[1..]).unwrap();
        let sid = opened["sid"].as_str().unwrap().to_owned();
        (Self { stack, url: format!("{url}&sid={sid}"), sid }, opened)
    }

    /// Opens one, and lets a user in.
    async fn let_in(stack: &'a TestStack, user: &str) -> Self {
        let (session, _) = Self::open(stack).await;
        let connect = format!("40{}", json!({"token": stack.token(CHURCH, user)}));
        assert_eq!(session.post(connect).await, StatusCode::OK);
        eventually("it is let in", async || {
            session.poll().await.iter().any(|packet| packet.contains("\"connected\"")).then_some(())
        })
        .await;
        session
    }

    async fn post(&self, body: impl Into<reqwest::Body>) -> StatusCode {
        self.stack.stack.http().post(&self.url).body(body).send().await.unwrap().status()
    }

    async fn poll(&self) -> Vec<String> {
        let answer = self.stack.stack.http().get(&self.url).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        let packets: Vec<_> = answer.text().await.unwrap().split('\x1e').map(str::to_owned).collect();
        if packets.iter().any(|packet| packet == "2") {
            assert_eq!(self.post("3").await, StatusCode::OK);
        }
        packets
    }
}

/// The event whose last packet this is.
fn whole_event(packet: &str) -> Option<String> {
    let event: Value = serde_json::from_str(packet.strip_prefix("42")?).unwrap();
    event[1]["cursor"].as_str()?;
    Some(event[1]["eventId"].as_str()?.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_not_exactly_one_of_engine_io_gets_400_and_opens_nothing() {
    let stack = stack(&[]).await;
    let polling = Polling::let_in(&stack, AUTHOR).await;
    let sid = &polling.sid;
    let queries = [
        "EIO=4&transport=websocket%26x".to_owned(),
        "EIO=4&transport=Websocket".into(),
        "EIO=4&transport=websocket%00".into(),
        "EIO=4&transport=websocket&transport=polling".into(),
        "EIO=4&EIO=4&transport=websocket".into(),
        "EIO=3&transport=websocket".into(),
        "transport=websocket".into(),
        "EIO=4".into(),
        "EIO=4&transport=webtransport".into(),
        "EIO=4&transport=websocket&j=0".into(),
        "EIO=4&transport=websocket&sid=".into(),
        "EIO=4&transport=websocket&sid=AAAAAAAAAAAAAAAA".into(),
        "EIO=4&transport=polling&sid=AAAAAAAAAAAAAAAA".into(),
        format!("EIO=4%26sid={sid}&transport=websocket"),
        format!("EIO=4&transport=websocket%26sid={sid}"),
        format!("EIO=4&transport=websocket&sid={sid}%26x"),
        format!("EIO=4&transport=websocket&sid={sid}&sid={sid}"),
    ];
    for query in &queries {
        let head = ask(&stack, &format!("/socket.io/?{query}"), "1.1", HANDSHAKE).await;
        assert!(head.starts_with("HTTP/1.1 400 "), "{query}: {head}");
    }
    assert!(ask(&stack, "/", "1.1", HANDSHAKE).await.starts_with("HTTP/1.1 404 "));
    assert_eq!(stack.metric(ops(&stack), "church_gateway_upgrades_total").await, 0.0);
    let events = stack.announcer().await.announce(CHURCH, 1, "").await;
    eventually("the session goes on", async || {
        polling
            .poll()
            .await
            .iter()
            .find_map(|packet| whole_event(packet))
            .filter(|id| *id == events[0].to_string())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_handshake_with_a_header_missing_gets_400_and_an_offered_protocol_is_chosen() {
    let stack = stack(&[]).await;
    let opening = "/socket.io/?EIO=4&transport=websocket";
    let session = Polling::open(&stack).await.0;
    let upgrade = format!("{opening}&sid={}", session.sid);
    for target in [opening, &upgrade] {
        for dropped in HANDSHAKE.split_inclusive("\r\n") {
            let head = ask(&stack, target, "1.1", &HANDSHAKE.replace(dropped, "")).await;
            assert!(head.starts_with("HTTP/1.1 400 "), "{target} without {dropped}: {head}");
        }
        let head = ask(&stack, target, "1.0", HANDSHAKE).await;
        assert!(head.starts_with("HTTP/1.0 400 "), "{target}: {head}");
    }
    let head = ask(&stack, opening, "1.1", HANDSHAKE).await.to_lowercase();
    assert!(head.starts_with("http/1.1 101 ") && !head.contains("sec-websocket-protocol"), "{head}");
    let offers = format!("{HANDSHAKE}Sec-WebSocket-Protocol: v2.chat, chat\r\n");
    let head = ask(&stack, opening, "1.1", &offers).await.to_lowercase();
    assert!(
        head.starts_with("http/1.1 101 ") && head.contains("sec-websocket-protocol: v2.chat\r\n"),
        "{head}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_a_proxy_that_drops_the_handshakes_headers_the_stock_client_polls_without_a_failed_try() {
    let stack = stack(&[]).await;
    let proxy = PlainProxy::to(gateway(&stack)).await;
    let arguments = ["--transports", "websocket,polling", "--try-all"];
    let mut client = Client::start(&proxy.url(), &stack.token(CHURCH, AUTHOR), &arguments).await;
    client.until("connected").await;
    let names: Vec<_> = client.seen().iter().map(|seen| seen.event.as_str()).collect();
    assert_eq!(names, ["open", "connect", "connected"]);
    assert_eq!(client.seen()[0].data["transport"], "polling");
    let events = stack.announcer().await.announce(CHURCH, 3, "").await;
    client.until_event(events[2]).await;
    assert_eq!(client.whole_events(), events);
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_events_over_polling_and_then_an_upgrade_arrive_whole() {
    const MANY: usize = 3_000;
    // One answer to a poll is far more than a client may post.
    let stack = stack(&[("GATEWAY_MAX_MESSAGE", "8192")]).await;
    let (_, opened) = Polling::open(&stack).await;
    assert_eq!(opened["maxPayload"], 8_192);
    let session = Polling::let_in(&stack, AUTHOR).await;
    let announcer = stack.announcer().await;
    let announcing = tokio::spawn(async move { announcer.announce(CHURCH, MANY, &"x".repeat(500)).await });
    let mut seen = Vec::new();
    while seen.len() < MANY / 3 {
        seen.extend(session.poll().await.iter().filter_map(|packet| whole_event(packet)));
    }
    let mut websocket = Packets::upgrade(stack.gateway_address(0), &session.sid).await.unwrap();
    while seen.len() < MANY {
        let packet = websocket.next().await.unwrap().expect("the session goes on");
        seen.extend(whole_event(&packet));
    }
    let events: Vec<_> = announcing.await.unwrap().iter().map(ToString::to_string).collect();
    assert!(seen == events, "{} of {} events arrived in order", seen.len(), events.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn events_that_wait_for_a_poll_are_not_lost_by_an_upgrade() {
    const WAITING: usize = 30;
    let stack = stack(&[("GATEWAY_MAX_MESSAGE", "8192")]).await;
    let session = Polling::let_in(&stack, AUTHOR).await;
    let announcer = stack.announcer().await;
    let mut events = announcer.announce(CHURCH, WAITING, &"x".repeat(500)).await;
    let published = async || {
        (stack.metric(ops(&stack), "church_gateway_events_total").await == WAITING as f64).then_some(())
    };
    eventually("the events wait in the queue", published).await;
    // Had the answer a limit, a packet would be kept back here.
    let polled = session.poll().await;
    let mut seen: Vec<_> = polled.iter().filter_map(|packet| whole_event(packet)).collect();
    events.extend(announcer.announce(CHURCH, WAITING, "").await);
    let mut websocket = Packets::upgrade(stack.gateway_address(0), &session.sid).await.unwrap();
    let events: Vec<_> = events.iter().map(ToString::to_string).collect();
    while seen.last() != events.last() {
        let packet = websocket.next().await.unwrap().expect("the session goes on");
        seen.extend(whole_event(&packet));
    }
    assert_eq!(seen, events);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_asks_for_unknown_namespaces_is_told_a_few_times_and_then_closed() {
    let stack = stack(&[]).await;
    let mut few = Packets::open(stack.gateway_address(0)).await.unwrap();
    few.say("40/random,").await.unwrap();
    let refusal = few.next().await.unwrap().unwrap();
    assert_eq!(refusal, r#"44/random,{"message":"Invalid namespace"}"#);

    let mut floods = Packets::open(stack.gateway_address(0)).await.unwrap();
    let long = format!("40/{},", "x".repeat(10_000));
    let mut heard = 0;
    // Writing fails once it is closed.
    while floods.say(&long).await.is_ok() && heard < 1_000 {
        match floods.next().await {
            Ok(Some(_)) => heard += 1,
            _ => break,
        }
    }
    assert!(heard < 20, "{heard} were answered");

    let (polls, _) = Polling::open(&stack).await;
    let mut asked = 0;
    while asked < 100 && polls.post(long.clone()).await == StatusCode::OK {
        asked += 1;
    }
    assert!(asked < 20, "{asked} were taken");
    few.say("40/random,").await.unwrap();
    assert!(few.next().await.unwrap().unwrap().starts_with("44/random,"), "nobody else is closed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_of_16_kib_is_the_largest_and_a_token_with_a_cursor_fits() {
    let stack = stack(&[]).await;
    let auth =
        json!({"token": stack.token(CHURCH, AUTHOR), "cursor": "x".repeat(64), "pad": "x".repeat(12_000)});
    let mut fits = socketio::Client::connect(stack.gateway_address(0), &auth).await.unwrap();
    assert_eq!(fits.next().await.unwrap().unwrap().name(), "connected");
    let large = json!({"token": stack.token(CHURCH, AUTHOR), "pad": "x".repeat(20_000)});
    socketio::Client::connect(stack.gateway_address(0), &large).await.unwrap_err();
    let (session, opened) = Polling::open(&stack).await;
    assert_eq!(opened["maxPayload"], 16_384);
    assert_eq!(session.post("x".repeat(20_000)).await, StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_few_tokens_of_one_session_are_looked_at() {
    let stack = stack(&[]).await;
    let mut tries = Packets::open(stack.gateway_address(0)).await.unwrap();
    // The library ignores what is asked before the answer is wholly out, so an answer may be missing.
    while tries.say(r#"40{"token":"bad"}"#).await.is_ok() {
        if matches!(timeout(Duration::from_millis(50), tries.next()).await, Ok(Ok(None) | Err(_))) {
            break;
        }
    }
    let looked_at = stack.count(ops(&stack), "church_gateway_auth_failures_total{reason=\"invalid\"}").await;
    assert!((1.0..100.0).contains(&looked_at), "{looked_at}");
    let beyond = stack.count(ops(&stack), "church_gateway_auth_failures_total{reason=\"too_many\"}").await;
    assert!(beyond >= 1.0, "{beyond}");
    stack.client(CHURCH, AUTHOR).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_talks_without_end_is_closed_and_nobody_else() {
    // Far more than the kernel keeps on the way.
    const MUCH: usize = 10_000;
    let stack = stack(&[]).await;
    let mut listens = stack.client(CHURCH, AUTHOR).await;
    let auth = json!({"token": stack.token(CHURCH, "talks")});
    let mut talks = socketio::Client::connect(stack.gateway_address(0), &auth).await.unwrap();
    let mut said = 0;
    let word = json!("x".repeat(10_000));
    while said < MUCH && talks.emit("join", &word).await.is_ok() {
        said += 1;
    }
    assert!(said < MUCH, "it is closed");
    let heard = stack.metric(ops(&stack), "church_gateway_unknown_events_total").await;
    assert!(heard < 100.0, "{heard} of them were listened to");
    let events = stack.announcer().await.announce(CHURCH, 1, "").await;
    listens.until_event(events[0]).await;
    assert_eq!(listens.recovered(), [false]);
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_clients_that_do_not_read_is_bounded_by_bytes() {
    const CROWD: usize = 60;
    // They are not to be closed meanwhile.
    let stack = stack(&[("GATEWAY_WRITE_STALL", "300")]).await;
    let crowd = join_all((0..CROWD).map(|_| Polling::let_in(&stack, AUTHOR))).await;
    let process = stack.stack.file().processes["realtime-gateway-1"];
    let before = usage::resident(process);
    // Two packets each: a queue would take all of them, 190 MB for the crowd.
    let events = stack.announcer().await.announce(CHURCH, 200, &"x".repeat(8_000)).await;
    let published = async || {
        (stack.metric(ops(&stack), "church_gateway_events_total").await == events.len() as f64).then_some(())
    };
    eventually("all events are published", published).await;
    let grown = usage::resident(process).saturating_sub(before);
    assert!(grown < 80 << 20, "{grown} bytes for {CROWD} clients");
    // And they have everything as soon as they read.
    let mut seen = Vec::new();
    while seen.len() < events.len() {
        seen.extend(crowd[0].poll().await.iter().filter_map(|packet| whole_event(packet)));
    }
    assert_eq!(seen, events.iter().map(ToString::to_string).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_open_nothing_and_one_address_keep_nobody_else_out() {
    let limits = [
        ("GATEWAY_ADDRESS_CONNECTS_PER_SECOND", "5"),
        ("GATEWAY_CONNECTS_PER_SECOND", "50"),
        ("TRUSTED_PROXIES", "127.0.0.0/8"),
    ];
    let stack = stack(&limits).await;
    let mut stream = TcpStream::connect(stack.gateway_address(0)).await.unwrap();
    let (mut answers, mut asks) = stream.split();
    let mut heard = Vec::new();
    let requests = "GET / HTTP/1.1\r\nHost: gateway\r\n\r\n".repeat(999)
        + "GET / HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\n\r\n";
    let (asked, read) = tokio::join!(asks.write_all(requests.as_bytes()), answers.read_to_end(&mut heard));
    asked.unwrap();
    read.unwrap();
    assert_eq!(String::from_utf8_lossy(&heard).matches("HTTP/1.1 404").count(), 1_000);

    let open = async |address: &str| {
        let request = stack.stack.http().get(format!("{}{OPEN}", gateway(&stack)));
        request.header("x-forwarded-for", address).send().await.unwrap().status()
    };
    // One household has a whole /64 of addresses.
    let addresses: Vec<_> = (0..200).map(|number| format!("2001:db8:1:2::{number:x}")).collect();
    let answers = join_all(addresses.iter().map(|address| open(address))).await;
    assert!(answers.contains(&StatusCode::OK) && answers.contains(&StatusCode::SERVICE_UNAVAILABLE));
    assert_eq!(open("2001:db8:1:3::1").await, StatusCode::OK);
    let refusals = async |reason| {
        stack.count(ops(&stack), &format!("church_gateway_refusals_total{{reason=\"{reason}\"}}")).await
    };
    assert!(refusals("address_rate").await >= 1.0);
    assert_eq!(refusals("rate").await, 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_goodbye_the_transport_stays_for_who_comes_again_and_ends_if_nobody_does() {
    let stack = stack(&[]).await;
    let connect = format!("40{}", json!({"token": stack.token(CHURCH, AUTHOR)}));
    let mut session = Packets::open(stack.gateway_address(0)).await.unwrap();
    for _ in 0..2 {
        session.say(&connect).await.unwrap();
        assert!(session.next().await.unwrap().unwrap().starts_with("40{"));
        assert!(session.next().await.unwrap().unwrap().starts_with("42[\"connected\""));
        session.say("41").await.unwrap();
        eventually("its seat is free", async || {
            (stack.metric(ops(&stack), "church_gateway_sockets").await == 0.0).then_some(())
        })
        .await;
    }
    assert!(!matches!(session.next().await, Ok(Some(_))), "it ends");
}
