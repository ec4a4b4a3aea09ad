//! Engine.IO and Socket.IO packets to a real gateway, over a websocket or by polling. The first byte chooses the
//! transport; each line is a frame, and a line that begins with a zero byte is a binary one.

use std::sync::OnceLock;

use clap::Parser as _;
use common::service::Context;
use futures_util::{SinkExt as _, StreamExt as _};
use realtime_gateway::Settings;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, client_async};

use super::service;
use crate::broker::TestBroker;
use crate::eventually;

struct Gateway {
    port: u16,
    context: Context,
    _broker: TestBroker,
}

static GATEWAY: OnceLock<Gateway> = OnceLock::new();

/// Whatever a client sends, the gateway closes the connection or serves it on, and goes on itself.
pub(super) fn send(data: &[u8]) {
    let gateway = GATEWAY.get_or_init(|| service::run(start()));
    let Some((choice, rest)) = data.split_first() else { return };
    match choice % 2 {
        0 => service::run(over_websocket(gateway.port, rest)),
        _ => service::run(by_polling(gateway.port, rest)),
    }
    assert!(!gateway.context.health.has_failed(), "a vital task of the gateway ended");
}

async fn over_websocket(port: u16, data: &[u8]) {
    let mut socket = open(port).await;
    for line in data.split(|byte| *byte == b'\n') {
        let frame = match line.split_first() {
            Some((0, binary)) => Message::binary(binary.to_vec()),
            _ => Message::text(String::from_utf8_lossy(line).into_owned()),
        };
        // The gateway may have closed the connection.
        if socket.send(frame).await.is_err() {
            return;
        }
    }
    let _ = socket.close(None).await;
    // It has read all frames once it closes the connection.
    while let Some(Ok(_)) = socket.next().await {}
}

async fn open(port: u16) -> WebSocketStream<TcpStream> {
    let stream = service::connect(port).await;
    let url =
        format!("ws://127.0.0.1:{port}/socket.io/?EIO=4&transport=websocket&token={}", service::token());
    let (mut socket, _) = client_async(url, stream).await.expect("the gateway lets the client in");
    socket.send(Message::text("40")).await.expect("the gateway reads");
    socket
}

/// Posts the packets in one body, with the separator of Engine.IO in place of line ends, and asks for the answer.
async fn by_polling(port: u16, data: &[u8]) {
    let path = format!("/socket.io/?EIO=4&transport=polling&token={}", service::token());
    let opened = service::answer(port, request("GET", &path, b"").as_slice()).await;
    let opened = String::from_utf8_lossy(&opened).into_owned();
    let sid = opened.split_once("\"sid\":\"").and_then(|(_, rest)| rest.split_once('"'));
    let (sid, _) = sid.expect("the gateway opens a session");
    let path = format!("{path}&sid={sid}");
    let body: Vec<u8> =
        [b"40\n", data].concat().into_iter().map(|byte| if byte == b'\n' { 0x1e } else { byte }).collect();
    for (method, body) in [("POST", body.as_slice()), ("POST", b"1")] {
        let answer = service::answer(port, &request(method, &path, body)).await;
        let status = service::status(&answer);
        assert!(status.is_none_or(|status| status < 500), "{}", String::from_utf8_lossy(&answer));
    }
}

fn request(method: &str, path: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nContent-Type: text/plain;charset=UTF-8\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

async fn start() -> Gateway {
    let broker = TestBroker::start().await;
    let port = deploy::ports::Port::free().expect("a free port");
    let settings = Settings::try_parse_from([
        "realtime-gateway",
        &format!("--listen=127.0.0.1:{}", port.number()),
        &format!("--nats-url={}", broker.url()),
        "--nats-user=gateway",
        &format!("--nats-password={}", crate::broker::PASSWORD),
        &format!("--jwt-secret={}", service::SECRET),
        "--cors-origins=localhost",
        "--connects-per-second=0",
        "--address-connects-per-second=0",
        "--max-user-sockets=0",
    ]);
    let context = Context::new();
    tokio::spawn(realtime_gateway::run(settings.expect("the settings are right"), context.clone()));
    eventually("the gateway is ready", async || context.health.report().0.then_some(())).await;
    Gateway { port: port.number(), context, _broker: broker }
}
