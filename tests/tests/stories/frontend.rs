//! The code of docs/frontend.md and docs/protocol.md works with the real gateway as the document says.

use std::time::Duration;

use deploy::tools;
use serde_json::{Value, json};
use tests::client::Client;
use tests::databases::Kind;
use tests::frontend::Code;
use tests::proxy::Proxy;
use tests::stack::TestStack;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;

use super::resuming::{assert_has_all, burst, quick, recovered};
use super::{AUTHOR, CHURCH, DELIVERED};

/// Validity of a token whose `auth:expiring` comes after a second, a minute before its expiry.
const SHORT: Duration = Duration::from_secs(61);
/// Longest wait for a program's end. One that does not end has left something running.
const ENDING: Duration = Duration::from_secs(30);

/// The document's connecting code with another address and options.
fn connecting(code: &Code, stack: &TestStack, url: &str, options: &Value) -> Client {
    let mut program = code.program("connecting.js", &[]);
    program.env("GATEWAY", url).env("TOKENS", stack.token(CHURCH, AUTHOR));
    program.env("OPTIONS", options.to_string());
    Client::run(program)
}

/// A page with one of the document's hooks.
fn mounted(code: &Code, stack: &TestStack, hook: &str, tokens: &[String]) -> Client {
    let file = stack.stack.file();
    let mut program = code.program("mounting.mjs", &[hook]);
    program.env("API", &file.api).env("GATEWAY", &file.gateways[0]).env("TOKENS", tokens.join(","));
    Client::run(program)
}

/// Waits until the page shows a message as delivered.
async fn until_shown(page: &mut Client, message: Uuid) {
    let line = json!(format!("{message} delivered"));
    let shows = |data: &Value| data.as_array().is_some_and(|lines| lines.contains(&line));
    page.until_one(|seen| seen.event == "shown" && shows(&seen.data)).await;
}

/// How often the hook polls during two of its intervals.
async fn polls_in_two_rounds(page: &mut Client) -> usize {
    // Reads caused by the previous message end within the first interval.
    page.until("tick").await;
    let before = page.seen().len();
    for _ in 0..3 {
        page.until("tick").await;
    }
    let since = &page.seen()[before..];
    since.windows(2).filter(|pair| pair[0].event == "tick" && pair[1].event == "asked").count()
}

/// The hook's queries of the history.
fn asked(page: &Client, from: usize) -> Vec<String> {
    let asked = page.seen()[from..].iter().filter(|seen| seen.event == "asked");
    asked.map(|seen| seen.data.to_string()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_hook_shows_each_change_and_polls_only_without_a_gateway() {
    let code = Code::unpacked().await;
    let mut stack = TestStack::start(Kind::Sqlite).await;
    let long = stack.token(CHURCH, AUTHOR);
    let mut page = mounted(&code, &stack, "useMessages", std::slice::from_ref(&long));
    page.until("connected").await;
    page.until("answered").await;
    assert_eq!(asked(&page, 0), [r#""?limit=100""#], "the history is read once");
    let message = stack.send(CHURCH, AUTHOR, &[DELIVERED]).await;
    until_shown(&mut page, message).await;
    assert_eq!(polls_in_two_rounds(&mut page).await, 0, "a connected page does not poll");

    stack.stack.kill("realtime-gateway-1").await.unwrap();
    page.until("disconnect").await;
    let gone = page.seen().len();
    let message = stack.send(CHURCH, AUTHOR, &[DELIVERED]).await;
    until_shown(&mut page, message).await;
    let polled = asked(&page, gone);
    assert!(!polled.is_empty() && polled.iter().all(|query| query.contains("updatedSince=")), "{polled:?}");
    // The old hook, which needs no gateway, shows the same.
    let mut before = mounted(&code, &stack, "before", &[long]);
    until_shown(&mut before, message).await;
    timeout(ENDING, before.stop()).await.expect("the old hook leaves nothing running");

    stack.stack.start_process("realtime-gateway-1").unwrap();
    assert_eq!(page.until("connected").await.data["recovered"], true);
    let message = stack.send(CHURCH, AUTHOR, &[DELIVERED]).await;
    until_shown(&mut page, message).await;
    assert_eq!(polls_in_two_rounds(&mut page).await, 0, "a reconnected page does not poll");
    timeout(ENDING, page.stop()).await.expect("the hook leaves nothing running");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_hook_refreshes_its_token_a_minute_before_expiry() {
    let code = Code::unpacked().await;
    let stack = TestStack::start(Kind::Sqlite).await;
    let short = stack.stack.token(CHURCH, AUTHOR, SHORT).unwrap();
    let tokens = [short, stack.token(CHURCH, AUTHOR)];
    let mut page = mounted(&code, &stack, "useMessages", &tokens);
    let notice = page.until("auth:expiring").await.data;
    let end = notice["exp"].as_i64().unwrap();
    assert_eq!(notice, json!({"type": "auth:expiring", "exp": end}));
    let answer = page.until("auth:refresh answered").await.data;
    let longer = answer["exp"].as_i64().unwrap();
    assert_eq!(answer, json!({"ok": true, "exp": longer}));
    assert!(longer > end);
    let message = stack.send(CHURCH, AUTHOR, &[DELIVERED]).await;
    until_shown(&mut page, message).await;
    assert!(!page.seen().iter().any(|seen| seen.event == "disconnect"));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_sticky_sessions_websockets_resume_and_polling_fails() {
    let code = Code::unpacked().await;
    let stack = TestStack::start_with(Kind::Sqlite, |options| {
        options.gateways = 2;
        quick(options);
    })
    .await;
    let balancer = Proxy::among(&stack.stack.file().gateways).await;
    let mut client = connecting(&code, &stack, &balancer.url(), &json!({}));
    client.until("connected").await;
    let cutting = async {
        for events in [5, 20, 40, 60] {
            while client.whole_events().len() < events {
                client.next().await;
            }
            balancer.cut();
            client.until("connected").await;
        }
        client
    };
    let (events, mut client) = tokio::join!(burst(&stack, 60), cutting);
    assert_has_all(&mut client, &events).await;
    assert_eq!(recovered(&client), [true; 4]);
    assert_eq!(client.seen().iter().filter(|seen| seen.event == "reload").count(), 1);
    let reasons = client.seen().iter().filter(|seen| seen.event == "disconnect");
    assert_eq!(reasons.map(|seen| &seen.data["reason"]).collect::<Vec<_>>(), ["transport close"; 4]);
    for ops in &stack.stack.file().ops.gateways {
        let connections =
            stack.metric(ops, r#"church_gateway_connections_total{transport="websocket"}"#).await;
        assert!(connections >= 2.0, "{connections} of 5 went to {ops}");
    }
    timeout(ENDING, client.stop()).await.expect("it disconnects and ends");

    let mut client = connecting(&code, &stack, &balancer.url(), &json!({"transports": ["polling"]}));
    for _ in 0..3 {
        let error = client.until("connect_error").await.data;
        let known = ["xhr post error", "xhr poll error"].contains(&error["message"].as_str().unwrap());
        assert!(known && error["status"] == 400 && error["retries"] == true, "{error}");
    }
    assert!(client.seen().iter().all(|seen| seen.event != "connected"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_refused_by_a_full_gateway_connects_later_by_itself() {
    let code = Code::unpacked().await;
    let stack = TestStack::start_with(Kind::Sqlite, |options| {
        options.environment.push(("realtime-gateway".into(), "GATEWAY_MAX_CONNECTIONS".into(), "1".into()));
    })
    .await;
    let gateway = &stack.stack.file().gateways[0];
    let mut inside = stack.client(CHURCH, AUTHOR).await;
    let errors = [("websocket", "websocket error", Value::Null), ("polling", "xhr poll error", json!(503))];
    for (transports, message, status) in errors {
        let mut outside = connecting(&code, &stack, gateway, &json!({"transports": [transports]}));
        let error = outside.until("connect_error").await.data;
        assert_eq!(error, json!({"message": message, "status": status, "retries": true}));
        inside.stop().await;
        outside.until("connected").await;
        inside = outside;
    }
}

/// A proxy to a gateway that blocks websockets. Returns its URL.
async fn without_websockets(gateway: &str) -> (String, AbortOnDropHandle<()>) {
    let target = gateway.trim_start_matches("http://").to_owned();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let way = async move {
        while let Ok((mut browser, _)) = listener.accept().await {
            let target = target.clone();
            tokio::spawn(async move {
                let mut request = vec![0; 4096];
                let read = browser.read(&mut request).await?;
                if String::from_utf8_lossy(&request[..read]).contains("transport=websocket") {
                    return browser.write_all(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n").await;
                }
                let mut gateway = TcpStream::connect(target).await?;
                gateway.write_all(&request[..read]).await?;
                tokio::io::copy_bidirectional(&mut browser, &mut gateway).await.map(drop)
            });
        }
    };
    (url, AbortOnDropHandle::new(tokio::spawn(way)))
}

#[tokio::test(flavor = "multi_thread")]
async fn with_websockets_blocked_only_try_all_transports_falls_back_to_polling() {
    let code = Code::unpacked().await;
    let stack = TestStack::start(Kind::Sqlite).await;
    let (way, _open) = without_websockets(&stack.stack.file().gateways[0]).await;
    let mut polls = connecting(&code, &stack, &way, &json!({"tryAllTransports": true}));
    let mut fails = connecting(&code, &stack, &way, &json!({}));
    for _ in 0..2 {
        assert_eq!(fails.until("connect_error").await.data["message"], "websocket error");
    }
    polls.until("connected").await;
    let message = stack.send(CHURCH, AUTHOR, &[DELIVERED]).await;
    assert_eq!(polls.until("message:delivered").await.data["messageId"], json!(message));
    assert!(fails.seen().iter().all(|seen| seen.event != "connected"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_python_example_shows_every_event_once_through_a_cut() {
    let code = Code::unpacked().await;
    let stack = TestStack::start(Kind::Sqlite).await;
    let way = Proxy::among(&stack.stack.file().gateways).await;
    let packages = tokio::task::spawn_blocking(|| tools::python_packages("socketio")).await.unwrap();
    let mut program = Command::new("python3");
    program.arg(tools::project().join("tests/python/connecting.py")).arg(code.path());
    program.env("PYTHONPATH", packages.unwrap()).env("GATEWAY", way.url());
    program.env("TOKEN", stack.token(CHURCH, AUTHOR));
    let mut client = Client::run(program);
    client.until("connected").await;
    let (events, ()) = tokio::join!(burst(&stack, 20), async {
        client.until("message:sent").await;
        way.cut();
    });
    assert_has_all(&mut client, &events).await;
    assert_eq!(recovered(&client), [true]);
    assert_eq!(client.seen().iter().filter(|seen| seen.event == "reload").count(), 1);
    timeout(ENDING, client.stop()).await.expect("it disconnects and ends");
}
