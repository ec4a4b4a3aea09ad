use proptest::prelude::*;
use serde_json::json;

use super::*;

const RECIPIENT: &str = "0195a3c0-7a30-7c51-9d5e-0a1b2c3d4e5f";
const PHONE: &str = "+15550000101";

fn read(body: impl AsRef<[u8]>) -> ParsedWebhook {
    webhook(&VerifiedBody::trusted(Bytes::copy_from_slice(body.as_ref())), None, OffsetDateTime::UNIX_EPOCH)
}

/// A body that can be read.
fn parsed(body: impl AsRef<[u8]>) -> Webhook {
    let reading = read(body);
    assert_eq!(reading.unreadable, None);
    reading.webhook
}

/// A webhook in full, as Telnyx sends it for one message.
fn full(event_type: &str, status: &str) -> Value {
    json!({
        "data": {
            "event_type": event_type, "id": "6a09cdc3-8948-47f0-aa62-74ac943d6c58",
            "occurred_at": "2026-11-22T20:15:31.123+00:00", "record_type": "event",
            "payload": {
                "id": "40385f64-5717-4562-b3fc-2c963f66afa6", "record_type": "message", "direction": "outbound",
                "type": "SMS", "encoding": "GSM-7", "parts": 1, "text": "Service at ten", "errors": [], "media": [],
                "from": {"phone_number": "+15550000001", "carrier": "A", "line_type": "Wireless"},
                "to": [{"phone_number": PHONE, "carrier": "B", "line_type": "Wireless", "status": status}],
                "cc": [], "cost": {"amount": "0.0040", "currency": "USD"}, "tags": [], "valid_until": null,
                "webhook_url": format!("https://hooks.example.org/in/webhooks/telnyx/{RECIPIENT}"),
            },
        },
        "meta": {"attempt": 1, "delivered_to": "https://hooks.example.org"},
    })
}

/// The full webhook with one field of its payload changed, or taken away by null.
fn with(mut body: Value, field: &str, value: Value) -> Value {
    body["data"]["payload"][field] = value;
    body
}

fn report(body: &Value) -> DeliveryReport {
    match parsed(body.to_string()).content {
        WebhookContent::Delivery(report) => report,
        other => panic!("no delivery: {other:?}"),
    }
}

fn ignored(body: &Value) -> String {
    match parsed(body.to_string()).content {
        WebhookContent::Ignored { reason } => reason,
        other => panic!("not ignored: {other:?}"),
    }
}

#[test]
fn a_delivery_report_is_read_in_full() {
    let body = full("message.finalized", "delivered");
    let webhook = parsed(body.to_string());
    assert_eq!(webhook.event_id, "6a09cdc3-8948-47f0-aa62-74ac943d6c58");
    assert_eq!(webhook.event_type, "message.finalized");
    assert_eq!(webhook.occurred_at.map(timestamp::to_text).as_deref(), Some("2026-11-22T20:15:31.123Z"));
    assert_eq!(webhook.body, body.to_string());
    let expected = DeliveryReport {
        provider_id: "40385f64-5717-4562-b3fc-2c963f66afa6".into(),
        recipient_hint: Some(RECIPIENT.parse().unwrap()),
        to: vec![PhoneReport {
            phone: PHONE.into(),
            rank: Rank::Delivered.as_i16(),
            closed: false,
            failure: None,
        }],
    };
    assert_eq!(report(&body), expected);
}

#[test]
fn only_a_final_report_without_a_receipt_says_that_none_will_follow() {
    for (event, status, rank, closed) in [
        ("message.sent", "queued", Rank::Queued, false),
        ("message.sent", "sent", Rank::Sent, false),
        ("message.sent", "delivery_unconfirmed", Rank::Unconfirmed, false),
        ("message.finalized", "sent", Rank::Sent, true),
        ("message.finalized", "delivery_unconfirmed", Rank::Unconfirmed, true),
        ("message.finalized", "unknown", Rank::Unconfirmed, true),
        ("message.finalized", "delivery_failed", Rank::Failed, false),
        ("message.finalized", "delivered", Rank::Delivered, false),
        ("message.read", "read", Rank::Read, false),
    ] {
        let report = report(&full(event, status));
        assert_eq!((report.to[0].rank, report.to[0].closed), (rank.as_i16(), closed), "{event} {status}");
        assert_eq!(report.to[0].failure.is_some(), rank == Rank::Failed, "{event} {status}");
    }
}

#[test]
fn a_missing_status_means_what_the_event_says() {
    for to in [json!([{"phone_number": PHONE}]), json!({"phone_number": PHONE, "status": null}), json!(PHONE)]
    {
        for (event, rank) in [
            ("message.sent", Rank::Sent),
            ("message.finalized", Rank::Unconfirmed),
            ("message.read", Rank::Read),
        ] {
            let report = report(&with(full(event, ""), "to", to.clone()));
            assert_eq!(
                (report.to[0].phone.as_str(), report.to[0].rank),
                (PHONE, rank.as_i16()),
                "{event} {to}"
            );
        }
    }
}

#[test]
fn a_status_that_is_not_known_means_what_the_event_says_and_is_told() {
    for (status, word) in
        [(json!("teleported"), "teleported"), (json!(3), "3"), (json!("Delivered"), "Delivered")]
    {
        for (event, rank, closed) in [
            ("message.sent", Rank::Sent, false),
            ("message.finalized", Rank::Unconfirmed, true),
            ("message.read", Rank::Read, false),
        ] {
            let to = json!([{"phone_number": PHONE, "status": status}]);
            let reading = read(with(full(event, ""), "to", to).to_string());
            assert_eq!(reading.unknown_statuses, [word]);
            let WebhookContent::Delivery(report) = reading.webhook.content else { panic!("ignored") };
            assert_eq!((report.to[0].rank, report.to[0].closed), (rank.as_i16(), closed), "{event} {status}");
            assert_eq!(report.to[0].failure, None, "{event} {status}");
        }
    }
    assert!(read(full("message.finalized", "delivered").to_string()).unknown_statuses.is_empty());
}

#[test]
fn errors_explain_a_recipient_until_it_is_delivered() {
    let errors = json!([{"code": "40008", "title": "Undeliverable"}]);
    for (event, status, is_explained) in [
        ("message.sent", "queued", true),
        ("message.sent", "sent", true),
        ("message.finalized", "sent", true),
        ("message.finalized", "delivery_unconfirmed", true),
        ("message.finalized", "teleported", true),
        ("message.finalized", "delivery_failed", true),
        ("message.finalized", "delivered", false),
        ("message.read", "read", false),
    ] {
        let report = report(&with(full(event, status), "errors", errors.clone()));
        let code = report.to[0].failure.as_ref().map(|failure| failure.code.as_str());
        assert_eq!(code, is_explained.then_some("40008"), "{event} {status}");
    }
    let report = report(&with(full("message.sent", "sent"), "errors", json!([])));
    assert_eq!(report.to[0].failure, None);
}

#[test]
fn half_an_emoji_in_a_text_costs_nothing_and_the_body_is_kept_as_received() {
    let whole = full("message.finalized", "delivered");
    for text in [&br"Amen \ud83d"[..], br"\ude00 \\ud83d \ud83d\ude00", b"cut \xed\xa0\xbd", b"\xff"] {
        let body = whole.to_string();
        let (before, after) = body.split_once("Service at ten").unwrap();
        let body = [before.as_bytes(), text, after.as_bytes()].concat();
        let webhook = parsed(&body);
        assert_eq!(
            (&webhook.body[..], webhook.event_id.as_str()),
            (&body[..], "6a09cdc3-8948-47f0-aa62-74ac943d6c58")
        );
        let WebhookContent::Delivery(read) = webhook.content else { panic!("ignored") };
        assert_eq!(read, report(&whole));
    }
}

#[test]
fn each_recipient_of_a_group_has_its_own_status() {
    let to = json!([
        {"phone_number": "+15550000001", "status": "delivered"},
        {"phone_number": "+15550000002", "status": "delivery_failed"},
        {"phone_number": "+15550000003", "status": "teleported"},
        {"status": "delivered"}, 7, null,
    ]);
    let ranks: Vec<_> =
        report(&with(full("message.finalized", ""), "to", to)).to.into_iter().map(|to| to.rank).collect();
    assert_eq!(ranks, [Rank::Delivered, Rank::Failed, Rank::Unconfirmed].map(Rank::as_i16));
}

#[test]
fn odd_shapes_of_what_we_do_not_need_harm_nothing() {
    let expected = report(&full("message.sent", "sent"));
    for (field, value) in [
        ("from", json!("+15550000001")),
        ("cc", json!(["+15550000001", {"phone_number": "+15550000002"}])),
        ("cost", json!({"amount": 0.004})),
        ("cost", Value::Null),
        ("text", Value::Null),
        ("tags", Value::Null),
        ("errors", json!("none")),
        ("errors", json!([null])),
        ("invented", json!({"deep": [1, 2, {"deeper": true}]})),
    ] {
        assert_eq!(
            report(&with(full("message.sent", "sent"), field, value.clone())),
            expected,
            "{field} {value}"
        );
    }
    let mut bare = full("message.sent", "sent");
    bare.as_object_mut().unwrap().remove("meta");
    bare["data"]["occurred_at"] = json!("yesterday");
    assert_eq!(report(&bare), expected);
    assert_eq!(parsed(bare.to_string()).occurred_at, None);
}

#[test]
fn a_failure_is_told_in_words_for_a_person() {
    let long = "x".repeat(500);
    for (errors, code, reason) in [
        (json!([{"code": "40300", "title": "Blocked"}]), "40300", "The recipient has opted out (STOP)."),
        (json!([{"code": 40300}]), "40300", "The recipient has opted out (STOP)."),
        (json!([{"code": "49999", "title": "Odd\u{0}", "detail": "d"}]), "49999", "Odd"),
        (json!([{"code": "49999", "detail": "Detail"}]), "49999", "Detail"),
        (json!([{"code": "49999", "title": long}]), "49999", &long[..200]),
        (json!([]), "delivery_failed", "The carrier could not deliver it."),
        (Value::Null, "delivery_failed", "The carrier could not deliver it."),
        (json!([{"code": null, "title": " "}]), "delivery_failed", "The carrier could not deliver it."),
    ] {
        let report = report(&with(full("message.finalized", "delivery_failed"), "errors", errors.clone()));
        let failure = report.to[0].failure.clone().unwrap();
        assert_eq!((failure.code.as_str(), failure.reason.as_str()), (code, reason), "{errors}");
    }
}

#[test]
fn what_we_do_not_use_is_kept_with_the_reason() {
    for (body, part) in [
        (full("message.received", "delivered"), "sent, not received"),
        (full("message.echo", "delivered"), "message.echo"),
        (full("10dlc.campaign.update", ""), "10dlc.campaign.update"),
        (with(full("message.sent", "sent"), "to", json!([])), "no phone"),
        (with(full("message.sent", "sent"), "to", Value::Null), "no phone"),
        (with(full("message.sent", "sent"), "direction", json!("inbound")), "received"),
        (with(full("message.sent", "sent"), "id", Value::Null), "no message"),
        (with(full("message.sent", "sent"), "id", json!("x".repeat(129))), "no message"),
        (with(full("message.sent", "sent"), "id", json!("a\u{0}b")), "no message"),
        (json!({"data": {"id": "e1", "event_type": "message.sent"}}), "no payload"),
        (json!({"data": {"id": "e1", "event_type": "message.sent", "payload": [1]}}), "no payload"),
        (json!({"data": {}}), "no event type"),
    ] {
        let reason = ignored(&body);
        assert!(reason.contains(part), "{reason}");
        assert!(!reason.contains("+1555"), "{reason}");
    }
}

#[test]
fn an_event_without_a_usable_id_gets_one_from_its_body() {
    for id in [Value::Null, json!(""), json!(7), json!("x".repeat(129)), json!("a b"), json!("a\u{0}")] {
        let mut body = full("message.sent", "sent");
        body["data"]["id"] = id.clone();
        let [first, again] = [(); 2].map(|()| parsed(body.to_string()).event_id);
        assert!(first.starts_with("sha256:") && first.len() == 71 && first == again, "{id}: {first}");
        body["data"]["payload"]["text"] = json!("another");
        assert_ne!(parsed(body.to_string()).event_id, first, "{id}");
    }
}

#[test]
fn a_flat_event_is_kept() {
    for (body, kind) in [
        (json!({"event_type": "message.link_click", "url": "https://example.org"}), "message.link_click"),
        (json!({"record_type": "message_link_click"}), "message_link_click"),
        (json!({"event_type": "two words", "data": null}), "unknown"),
    ] {
        let webhook = parsed(body.to_string());
        assert_eq!(webhook.event_type, kind);
        assert!(webhook.event_id.starts_with("sha256:"));
        assert!(matches!(webhook.content, WebhookContent::Ignored { .. }));
    }
}

#[test]
fn what_can_not_be_read_is_kept_under_an_id_of_its_body_with_the_reason() {
    let deep = "[".repeat(500_000);
    let deep_data = format!("{{\"data\":{}1{}}}", "{\"data\":".repeat(100_000), "}".repeat(100_000));
    for (body, why) in [
        (&b""[..], Unreadable::NotJson),
        (b"\xff\xfe", Unreadable::NotJson),
        (b"{\"data\":", Unreadable::NotJson),
        (b"{\"data\":{}} trailing", Unreadable::NotJson),
        (b"a=1&b=2", Unreadable::NotJson),
        (deep.as_bytes(), Unreadable::NotJson),
        (deep_data.as_bytes(), Unreadable::NotJson),
        (b"null", Unreadable::NotAnObject),
        (b"[{\"data\":{}}]", Unreadable::NotAnObject),
        (b"\"data\"", Unreadable::NotAnObject),
        (b"{}", Unreadable::NoData),
        (b"{\"data\":null}", Unreadable::NoData),
        (b"{\"data\":[]}", Unreadable::NoData),
        (b"{\"data\":7,\"event_type\":\"x\"}", Unreadable::NoData),
        (b"{\"event_type\":7}", Unreadable::NoData),
    ] {
        let shown = String::from_utf8_lossy(&body[..body.len().min(40)]);
        let reading = read(body);
        assert_eq!(reading.unreadable, Some(why), "{shown}");
        let WebhookContent::Ignored { reason } = reading.webhook.content else { panic!("{shown}") };
        assert_eq!((reason, &reading.webhook.body[..]), (why.to_string(), body), "{shown}");
        assert_eq!(reading.webhook.event_id, derived_id(&Bytes::copy_from_slice(body)), "{shown}");
    }
}

/// Any JSON in any place.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
        Just(json!("message.finalized")),
        Just(json!("delivery_failed")),
    ];
    let key =
        prop::sample::select(vec!["data", "id", "payload", "to", "status", "errors", "code", "event_type"]);
    leaf.prop_recursive(5, 48, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((key.clone(), inner), 0..6).prop_map(|fields| {
                Value::Object(fields.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
            }),
        ]
    })
}

proptest! {
    #[test]
    fn any_data_object_is_recorded_somehow(payload in any_json(), to in any_json(), errors in any_json()) {
        let mut body = full("message.finalized", "delivery_failed");
        body["data"]["payload"]["to"] = to;
        body["data"]["payload"]["errors"] = errors;
        prop_assert_eq!(read(body.to_string()).unreadable, None);
        body["data"]["payload"] = payload;
        prop_assert_eq!(read(body.to_string()).unreadable, None);
    }

    #[test]
    fn no_body_makes_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), json in any_json()) {
        let _ = read(bytes);
        let _ = read(json.to_string());
    }
}
