//! What a gateway does while the broker is away.

use std::net::SocketAddr;
use std::time::Duration;

use clap::Parser as _;
use common::service::Context;
use realtime_gateway::Settings;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::error::Elapsed;
use tokio::time::{sleep, timeout};

const LONG: Duration = Duration::from_secs(60);

async fn free_address() -> std::io::Result<SocketAddr> {
    TcpListener::bind("127.0.0.1:0").await?.local_addr()
}

fn settings(listen: SocketAddr, broker: SocketAddr) -> Settings {
    let arguments = [
        "realtime-gateway",
        &format!("--listen={listen}"),
        &format!("--nats-url=nats://{broker}"),
        "--nats-user=gateway",
        "--nats-password=none",
        "--jwt-secret=0123456789abcdef0123456789abcdef",
        "--cors-origins=https://app.example.org",
        "--drain=0",
    ];
    Settings::parse_from(arguments)
}

async fn connected(address: SocketAddr) -> Result<TcpStream, Elapsed> {
    timeout(LONG, async {
        loop {
            match TcpStream::connect(address).await {
                Ok(stream) => return stream,
                Err(_) => sleep(Duration::from_millis(10)).await,
            }
        }
    })
    .await
}

#[tokio::test]
async fn without_a_position_in_the_stream_a_new_session_gets_503_and_the_page_may_read_why() {
    let (listen, broker) = (free_address().await.unwrap(), free_address().await.unwrap());
    let context = Context::new();
    let running = tokio::spawn(realtime_gateway::run(settings(listen, broker), context.clone()));

    let mut stream = connected(listen).await.unwrap();
    let request = "GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: gateway\r\n\
                   Origin: https://app.example.org\r\nConnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    timeout(LONG, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
    let answer = answer.to_ascii_lowercase();
    assert!(answer.starts_with("http/1.1 503 "), "{answer}");
    assert!(answer.contains("retry-after: 1\r\n"), "{answer}");
    assert!(answer.contains("access-control-allow-origin: https://app.example.org\r\n"), "{answer}");

    let (ready, report) = context.health.report();
    assert!(!ready && report.contains("stream"), "{report}");
    context.shutdown.cancel();
    timeout(LONG, running).await.unwrap().unwrap().unwrap();
}
