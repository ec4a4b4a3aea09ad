//! Every signed body is kept and answered 200, because a repetition would not help.

use common::store::RecipientQuery;

use super::*;

#[tokio::test]
async fn an_unreadable_signed_body_is_kept_as_ignored_and_counted() {
    let ingest = Ingest::start().await;
    let deep = "[".repeat(500_000);
    let bodies =
        [&b""[..], b"not json", b"\xff\xfe", b"null", b"[]", b"7", b"{}", b"{\"data\":[]}", deep.as_bytes()];
    // A repetition has the same id, which is derived from the body.
    for body in bodies.iter().chain(&bodies) {
        let shown = String::from_utf8_lossy(&body[..body.len().min(20)]).into_owned();
        assert_eq!(ingest.post(body).await.status, 200, "{shown}");
    }
    let audit = ingest.store.audit().await.unwrap();
    assert_eq!((audit.accepted, audit.ignored, audit.duplicate), (18, 9, 9));
    for (reason, count) in [("not_json", 4), ("not_an_object", 3), ("no_data", 2)] {
        assert!(
            ingest.shows(&format!("church_ingest_unreadable_total{{reason=\"{reason}\"}} {count}")),
            "{reason}"
        );
    }
    ingest.stop().await;
}

#[tokio::test]
async fn a_receipt_with_a_lone_surrogate_is_applied() {
    let ingest = Ingest::start().await;
    let sent = ingest.send(&[PHONE]).await;
    ingest.accept(sent.recipients[0], "m1").await;
    let body = webhook("message.finalized", "delivered", "m1").to_string();
    let body = body.replace("Service at ten", r"Amen \ud83d");
    assert!(serde_json::from_str::<Value>(&body).is_err());
    assert_eq!(ingest.post(&body).await.status, 200);
    assert_eq!(ingest.message(&sent).await.status, MessageStatus::Delivered);
    ingest.stop().await;
}

#[tokio::test]
async fn an_unknown_final_status_closes_the_recipient_and_is_counted() {
    let ingest = Ingest::start().await;
    let sent = ingest.send(&[PHONE]).await;
    ingest.accept(sent.recipients[0], "m1").await;
    let mut body = webhook("message.finalized", "teleported", "m1");
    body["data"]["payload"]["errors"] = json!([{"code": "40008", "title": "Undeliverable"}]);
    assert_eq!(ingest.post(body.to_string()).await.status, 200);
    assert_eq!(ingest.post(body.to_string()).await.status, 200);
    let message = ingest.message(&sent).await;
    assert_eq!((message.status, message.tally.unconfirmed), (MessageStatus::Sent, 1));
    // The message has not failed; the recipient shows the carrier's reason.
    assert_eq!(message.failure_reason, None);
    let all = RecipientQuery { limit: 10, after: None, status: None };
    let recipients = ingest.store.recipients(&sent.church_id, sent.id, &all).await.unwrap();
    assert_eq!(recipients[0].failure.as_ref().map(|failure| failure.code.as_str()), Some("40008"));
    assert_eq!(recipients[0].failed_at, None);
    assert!(ingest.shows("church_ingest_unknown_statuses_total{status=\"teleported\"} 1"));
    ingest.stop().await;
}

#[tokio::test]
async fn an_event_that_we_do_not_use_is_kept_and_answered_200() {
    let ingest = Ingest::start().await;
    let bodies = [
        webhook("message.received", "delivered", "m1"),
        webhook("10dlc.brand.update", "", "m1"),
        webhook("message.echo", "delivered", "m1"),
        json!({"data": {}}),
        json!({"data": {"id": "x\u{0}y", "event_type": "a\u{0}b", "payload": {"to": "\u{0}"}}}),
        json!({"record_type": "link_click", "url": "https://example.org"}),
    ];
    for body in &bodies {
        assert_eq!(ingest.post(body.to_string()).await.status, 200, "{body}");
    }
    // A repetition is recognized, also if its id is derived from the body.
    for body in &bodies {
        assert_eq!(ingest.post(body.to_string()).await.status, 200, "{body}");
    }
    let audit = ingest.store.audit().await.unwrap();
    assert_eq!((audit.accepted, audit.ignored, audit.duplicate), (12, 6, 6));
    assert!(ingest.shows("church_ingest_webhooks_total{outcome=\"ignored\"} 6"));
    ingest.stop().await;
}

#[tokio::test]
async fn an_extra_slash_loses_no_webhook() {
    let ingest = Ingest::start().await;
    let id = Uuid::now_v7();
    for path in ["/webhooks/telnyx/", "//webhooks/telnyx", "//webhooks/telnyx/"] {
        for path in [path.to_owned(), format!("{}/{id}", path.trim_end_matches('/')), format!("{path}/{id}/")]
        {
            let body = webhook("message.sent", "sent", "m1").to_string().into_bytes();
            let headers = signed(&body, 0);
            assert_eq!(ingest.post_to(&path, body, &headers).await.status, 200, "{path}");
        }
    }
    assert_eq!(ingest.store.audit().await.unwrap().accepted, 9);
    ingest.stop().await;
}

#[tokio::test]
async fn other_paths_and_methods_get_404_and_405() {
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
    assert!(ingest.shows("church_ingest_refusals_total{reason=\"not_found\"} 4"));
    assert!(ingest.shows("church_ingest_refusals_total{reason=\"method_not_allowed\"} 1"));
    ingest.stop().await;
}
