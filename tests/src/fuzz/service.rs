//! A service in this process, for targets that ask it over HTTP.

use std::sync::LazyLock;
use std::time::Duration;

use jsonwebtoken::{EncodingKey, Header};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;

/// Verifies the tokens.
pub(super) const SECRET: &str = "a-secret-of-the-fuzzer-that-is-long-enough";
/// Longest time of one input.
const LIMIT: Duration = Duration::from_secs(20);

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
});

/// Runs one input to its end.
pub(super) fn run<T>(work: impl Future<Output = T>) -> T {
    let in_time = async { tokio::time::timeout(LIMIT, work).await };
    RUNTIME.block_on(in_time).expect("the service answers in time")
}

/// A token that outlives the fuzzer.
pub(super) fn token() -> String {
    let claims = json!({"userId": "ann", "churchId": "grace", "exp": 4_000_000_000_i64});
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    jsonwebtoken::encode(&Header::default(), &claims, &key).expect("a token is signed")
}

/// A new connection that sends at once.
pub(super) async fn connect(port: u16) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", port)).await.expect("the service listens");
    stream.set_nodelay(true).expect("a connection that is open");
    stream
}

/// Sends bytes over a connection of their own, and reads until the service closes it.
pub(super) async fn answer(port: u16, request: &[u8]) -> Vec<u8> {
    let mut stream = connect(port).await;
    let mut answer = Vec::new();
    // It may close before it has read everything; what it answered counts.
    let _ = stream.write_all(request).await;
    let _ = stream.read_to_end(&mut answer).await;
    answer
}

/// The status of an HTTP answer; `None` if the connection was closed without one.
pub(super) fn status(answer: &[u8]) -> Option<u16> {
    let line = answer.strip_prefix(b"HTTP/1.1 ")?;
    std::str::from_utf8(line.get(..3)?).ok()?.parse().ok()
}
