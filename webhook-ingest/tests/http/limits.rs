//! The limits: 413 for a body that is too large, 503 with Retry-After for trouble of ours.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::*;

const MEBIBYTE: usize = 1024 * 1024;
/// The smallest queue: room for two bodies of [`LONG`].
const ROOM_FOR_TWO: [&str; 2] = ["--ingest-queue-bytes", "2097152"];
/// A body of almost one MiB.
const LONG: &str = "content-length: 1044000";

impl Ingest {
    /// Sends raw bytes, and keeps the connection open.
    async fn raw(&self, bytes: &[u8]) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        stream
    }
}

/// The head of a signed request.
fn head(body: &[u8], more: &str) -> Vec<u8> {
    let [(at, timestamp), (name, signature)] = signed(body, 0);
    format!(
        "POST /webhooks/telnyx HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{at}: {timestamp}\r\n{name}: {signature}\r\n{more}\r\n\r\n"
    )
    .into_bytes()
}

async fn answer(mut stream: TcpStream) -> String {
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8(answer).unwrap()
}

/// A webhook of a given length.
fn of_length(length: usize) -> Vec<u8> {
    let mut body = webhook("message.received", "", "m1");
    body["data"]["payload"]["text"] = json!("");
    let missing = length - body.to_string().len();
    body["data"]["payload"]["text"] = json!("x".repeat(missing));
    body.to_string().into_bytes()
}

#[tokio::test]
async fn a_body_of_one_mebibyte_is_accepted_and_a_larger_one_refused() {
    let ingest = Ingest::start().await;
    assert_eq!(ingest.post(of_length(MEBIBYTE)).await.status, 200);
    assert_eq!(ingest.post(of_length(MEBIBYTE + 1)).await.code(), (413, "too_large"));
    assert_eq!(ingest.post(vec![b'x'; 2 * MEBIBYTE]).await.status, 413);
    ingest.stop().await;
}

#[tokio::test]
async fn a_chunked_body_above_a_mebibyte_is_refused() {
    let ingest = Ingest::start().await;
    for (length, status) in [(MEBIBYTE, "200"), (MEBIBYTE + 1, "413"), (3 * MEBIBYTE, "413")] {
        let body = of_length(length);
        let mut request = head(&body, "transfer-encoding: chunked");
        for chunk in body.chunks(100_000) {
            request.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
            request.extend_from_slice(chunk);
            request.extend_from_slice(b"\r\n");
        }
        request.extend_from_slice(b"0\r\n\r\n");
        let mut answered = String::new();
        eventually("it is answered in time", async || {
            answered = answer(ingest.raw(&request).await).await;
            !answered.contains("\"late\"")
        })
        .await;
        assert!(answered.starts_with(&format!("HTTP/1.1 {status}")), "{length}: {answered}");
    }
    ingest.stop().await;
}

#[tokio::test]
async fn a_huge_content_length_is_refused_before_the_body() {
    let ingest = Ingest::start().await;
    let stream = ingest.raw(&head(b"", "content-length: 1000000000000")).await;
    assert!(answer(stream).await.starts_with("HTTP/1.1 413"));
    ingest.stop().await;
}

#[tokio::test]
async fn a_body_that_never_arrives_times_out() {
    let ingest = Ingest::start().await;
    let answered = answer(ingest.raw(&head(b"{}", "content-length: 2")).await).await;
    assert!(answered.starts_with("HTTP/1.1 503") && answered.contains("retry-after: 1"), "{answered}");
    assert!(ingest.shows("church_ingest_refusals_total{reason=\"late\"} 1"));
    ingest.stop().await;
}

#[tokio::test]
async fn a_full_queue_is_answered_503_at_once_and_is_not_full_for_ever() {
    let ingest = Ingest::with(&ROOM_FOR_TWO).await;
    // Two hold all room until their bodies arrive.
    let slow = [ingest.raw(&head(b"{}", LONG)).await, ingest.raw(&head(b"{}", LONG)).await];
    eventually("the room is taken", async || ingest.shows("church_ingest_queue_length 2")).await;
    let body = webhook("message.sent", "sent", "m1").to_string();
    let refused = ingest.post(&body).await;
    assert_eq!((refused.code(), refused.retry_after.as_deref()), ((503, "queue_full"), Some("1")));
    drop(slow);
    eventually("the room is free", async || ingest.post(&body).await.status == 200).await;
    ingest.stop().await;
}

#[tokio::test]
async fn unsigned_and_stale_requests_take_no_slot() {
    let ingest = Ingest::with(&ROOM_FOR_TWO).await;
    let body = webhook("message.sent", "sent", "m1").to_string();
    let [(at, timestamp), (name, signature)] = signed(body.as_bytes(), -3_600);
    for claim in [String::new(), format!("{at}: {timestamp}\r\n{name}: {signature}\r\n")] {
        let head =
            format!("POST /webhooks/telnyx HTTP/1.1\r\nhost: x\r\n{claim}content-length: 1000000\r\n\r\n");
        let mut slow = Vec::new();
        for _ in 0..50 {
            slow.push(ingest.raw(head.as_bytes()).await);
        }
        // None of them sends its body, and each is answered.
        for stream in slow {
            assert!(answer(stream).await.starts_with("HTTP/1.1 401"));
        }
        assert_eq!(ingest.post(&body).await.status, 200);
    }
    assert!(ingest.shows("church_ingest_refusals_total{reason=\"signature_missing\"} 50"));
    assert!(ingest.shows("church_ingest_refusals_total{reason=\"timestamp_stale\"} 50"));
    ingest.stop().await;
}

#[tokio::test]
async fn without_its_database_it_answers_503_and_is_not_ready() {
    let ingest = Ingest::on("missing/record.db", &[]).await;
    let answered = ingest.post(webhook("message.sent", "sent", "m1").to_string()).await;
    assert_eq!(
        (answered.code(), answered.retry_after.as_deref()),
        ((503, "database_unavailable"), Some("1"))
    );
    let (ready, report) = ingest.context.health.report();
    assert!(!ready && report.contains("not ready: database"), "{report}");
    // The database appears; no restart is needed.
    std::fs::create_dir(ingest._folder.path().join("missing")).unwrap();
    eventually("ready", async || ingest.context.health.report().0).await;
    assert_eq!(ingest.post(webhook("message.sent", "sent", "m1").to_string()).await.status, 200);
    ingest.stop().await;
}

#[tokio::test]
async fn a_request_under_way_is_finished_when_the_service_stops() {
    let ingest = Ingest::start().await;
    let body = webhook("message.sent", "sent", "m1").to_string().into_bytes();
    let (begin, rest) = body.split_at(10);
    let mut request = head(&body, &format!("content-length: {}", body.len()));
    request.extend_from_slice(begin);
    let mut stream = ingest.raw(&request).await;
    eventually("the request is being read", async || ingest.shows("church_ingest_queue_length 1")).await;
    ingest.context.shutdown.cancel();
    stream.write_all(rest).await.unwrap();
    assert!(answer(stream).await.starts_with("HTTP/1.1 200"));
    ingest.running.await.unwrap().unwrap();
    assert_eq!(ingest.store.audit().await.unwrap().accepted, 1);
}
