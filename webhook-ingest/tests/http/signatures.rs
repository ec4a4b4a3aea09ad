//! Requests that Telnyx did not sign get 401, whatever else is wrong, and are not recorded.

use super::*;

#[tokio::test]
async fn requests_without_a_valid_signature_are_refused() {
    let ingest = Ingest::start().await;
    let body = webhook("message.sent", "sent", "m1").to_string().into_bytes();
    let [timestamp, signature] = signed(&body, 0);
    let [_, of_another_body] = signed(b"{}", 0);
    let now = &timestamp.1;
    let sign = |seed, bytes: &[&[u8]]| {
        ("telnyx-signature-ed25519", STANDARD.encode(key_pair(seed).sign(&bytes.concat())))
    };
    let at = |value: &str| ("telnyx-timestamp", value.to_owned());
    let named = |name, value: &str| (name, value.to_owned());
    for (case, headers, code) in [
        ("nothing", vec![], "signature_missing"),
        ("no signature", vec![timestamp.clone()], "signature_missing"),
        ("no timestamp", vec![signature.clone()], "timestamp_missing"),
        ("API v1", vec![named("x-telnyx-signature", "t=1,h=ab")], "signature_api_v1"),
        (
            "a wrong name",
            vec![timestamp.clone(), named("telnyx-signature", &signature.1)],
            "signature_missing",
        ),
        ("another body", vec![timestamp.clone(), of_another_body], "signature_wrong"),
        ("a dot", vec![timestamp.clone(), sign(SEED, &[now.as_bytes(), b".", &body])], "signature_wrong"),
        (
            "a strange key",
            vec![timestamp.clone(), sign([9; 32], &[now.as_bytes(), b"|", &body])],
            "signature_wrong",
        ),
        ("letters", vec![at("123abc"), sign(SEED, &[b"123abc|", &body])], "timestamp_malformed"),
        ("nan", vec![at("NaN"), sign(SEED, &[b"NaN|", &body])], "timestamp_malformed"),
        ("negative", vec![at("-5"), sign(SEED, &[b"-5|", &body])], "timestamp_malformed"),
        (
            "url-safe",
            vec![timestamp.clone(), named("telnyx-signature-ed25519", "_-8=")],
            "signature_malformed",
        ),
        ("twice", vec![timestamp.clone(), signature.clone(), signature.clone()], "signature_repeated"),
        ("old", signed(&body, -310).to_vec(), "timestamp_stale"),
        ("of the future", signed(&body, 310).to_vec(), "timestamp_stale"),
    ] {
        let answered = ingest.post_to("/webhooks/telnyx", body.clone(), &headers).await;
        assert_eq!(answered.code(), (401, code), "{case}");
        assert_eq!(answered.body["success"], false, "{case}");
    }
    assert_eq!(ingest.store.audit().await.unwrap().accepted, 0);
    assert!(ingest.shows("church_ingest_refusals_total{reason=\"signature_wrong\"} 3"));
    ingest.stop().await;
}

#[tokio::test]
async fn the_signature_is_checked_before_the_body_is_parsed() {
    let ingest = Ingest::start().await;
    for body in [&b""[..], b"not json", b"\xff", b"{}"] {
        assert_eq!(ingest.post_to("/webhooks/telnyx", body.to_vec(), &[]).await.status, 401);
    }
    ingest.stop().await;
}

#[tokio::test]
async fn a_timestamp_just_within_the_tolerance_is_accepted() {
    let ingest = Ingest::start().await;
    for offset in [-290, 290] {
        let body = webhook("message.sent", "sent", "m1").to_string().into_bytes();
        let headers = signed(&body, offset);
        let answered = ingest.post_to("/webhooks/telnyx", body, &headers).await;
        assert_eq!((answered.status, answered.body), (200, json!({"received": true})), "{offset}");
    }
    ingest.stop().await;
}

#[tokio::test]
async fn without_a_key_the_service_does_not_start() {
    let arguments =
        ["webhook-ingest", "--database-url", "sqlite:x", "--nats-user", "u", "--nats-password", "p"];
    let settings = Settings::try_parse_from(arguments).unwrap();
    let error = webhook_ingest::run(settings, Context::new()).await.unwrap_err();
    assert!(error.is::<common::config::ConfigError>());
    assert!(error.to_string().starts_with("TELNYX_PUBLIC_KEY: missing"), "{error}");
}
