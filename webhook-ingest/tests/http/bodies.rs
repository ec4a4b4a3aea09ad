//! A signed body is kept if it is any kind of event, and refused if no repetition could ever make it one.

use super::*;

#[tokio::test]
async fn a_signed_body_that_is_no_envelope_is_refused() {
    let ingest = Ingest::start().await;
    let deep = "[".repeat(500_000);
    for body in
        [&b""[..], b"not json", b"\xff\xfe", b"null", b"[]", b"7", b"{}", b"{\"data\":[]}", deep.as_bytes()]
    {
        let shown = String::from_utf8_lossy(&body[..body.len().min(20)]).into_owned();
        assert_eq!(ingest.post(body).await.code(), (400, "not_an_envelope"), "{shown}");
    }
    assert_eq!(ingest.store.audit().await.unwrap().accepted, 0);
    ingest.stop().await;
}

#[tokio::test]
async fn an_event_that_we_do_not_use_is_kept_and_answered_200() {
    let ingest = Ingest::start().await;
    let bodies = [
        webhook("message.received", "delivered", "m1"),
        webhook("10dlc.brand.update", "", "m1"),
        webhook("message.finalized", "teleported", "m1"),
        json!({"data": {}}),
        json!({"data": {"id": "x\u{0}y", "event_type": "a\u{0}b", "payload": {"to": "\u{0}"}}}),
        json!({"record_type": "link_click", "url": "https://example.org"}),
    ];
    for body in &bodies {
        assert_eq!(ingest.post(body.to_string()).await.status, 200, "{body}");
    }
    // A repetition is known, also where the id is derived from the body.
    for body in &bodies {
        assert_eq!(ingest.post(body.to_string()).await.status, 200, "{body}");
    }
    let audit = ingest.store.audit().await.unwrap();
    assert_eq!((audit.accepted, audit.ignored, audit.duplicate), (12, 6, 6));
    assert!(ingest.shows("ingest_webhooks_total{outcome=\"ignored\"} 6"));
    ingest.stop().await;
}

#[tokio::test]
async fn another_path_or_method_is_answered_plainly() {
    let ingest = Ingest::start().await;
    for (path, code) in [
        ("/", "not_found"),
        ("/webhooks", "not_found"),
        ("/webhooks/telnyx/a/b", "not_found"),
        ("/metrics", "not_found"),
    ] {
        assert_eq!(ingest.post_to(path, Vec::new(), &[]).await.code(), (404, code), "{path}");
    }
    let got = ingest.client.get(format!("http://{}/webhooks/telnyx", ingest.address)).send().await.unwrap();
    assert_eq!(got.status(), 405);
    assert_eq!(got.headers()["allow"], "POST");
    assert_eq!(got.json::<Value>().await.unwrap()["code"], "method_not_allowed");
    ingest.stop().await;
}
