//! The REST API as front ends use it.

use reqwest::StatusCode;
use serde_json::{Value, json};
use time::OffsetDateTime;

use crate::document::{COMMITTED, DOCUMENT};
use crate::harness::{Api, message, token, token_until};
use crate::telnyx::Telnyx;

const UNAUTHORIZED: StatusCode = StatusCode::UNAUTHORIZED;
const UNPROCESSABLE: StatusCode = StatusCode::UNPROCESSABLE_ENTITY;

fn names(value: &Value) -> Vec<&str> {
    let mut names: Vec<_> = value.as_object().unwrap().keys().map(String::as_str).collect();
    names.sort_unstable();
    names
}

#[tokio::test]
async fn messages_have_the_documented_json() {
    let telnyx = Telnyx::start().await;
    let (api, token) = (Api::start(&telnyx.url).await, token("grace", "u1"));
    let body = json!({"content": "Hello", "targetType": "groups", "conversationId": "c-7",
        "recipients": [{"phone": "+15551230101", "memberId": "m1", "firstName": "Ada", "lastName": "L"}]});
    let (status, answer) = api.send(&token, &body).await;
    assert_eq!((status, &answer["success"]), (StatusCode::CREATED, &json!(true)));
    let data = &answer["data"];
    for (field, value) in [
        ("content", json!("Hello")),
        ("targetType", json!("groups")),
        ("totalRecipients", json!(1)),
        ("status", json!("pending")),
        ("version", json!(1)),
        ("conversationId", json!("c-7")),
        ("unconfirmedCount", json!(0)),
        ("readCount", json!(0)),
    ] {
        assert_eq!(data[field], value, "{field}");
    }
    let id = data["id"].as_str().unwrap();
    api.accepted(&token, id).await;

    let detail = api.message(&token, id).await;
    assert_eq!(detail["createdAt"], data["createdAt"]);
    assert_eq!(detail["recipientsNext"], Value::Null);
    let recipient = &detail["recipients"][0];
    assert_eq!(
        recipient["member"],
        json!({"id": "m1", "firstName": "Ada", "lastName": "L", "phone": "+15551230101"})
    );
    assert_eq!(
        names(recipient),
        ["deliveredAt", "failedAt", "failureCode", "failureReason", "id", "member", "status"]
    );

    let (status, history) = api.get(&token, "/api/messages/history?page=1&limit=20").await;
    assert_eq!(status, StatusCode::OK);
    let pagination =
        json!({"page": 1, "limit": 20, "total": 1, "totalMore": false, "pages": 1, "nextCursor": null});
    assert_eq!(history["pagination"], pagination);
    let row = &history["data"][0];
    assert_eq!(
        (&row["id"], &row["deliveryRate"], &row["deliveredCount"]),
        (&json!(id), &json!(0), &json!(0))
    );
    for field in ["sentAt", "createdAt", "failedCount", "version", "unconfirmedCount", "readCount"] {
        assert!(!row[field].is_null(), "{field}");
    }
}

#[tokio::test]
async fn a_missing_wrong_or_expired_token_is_401_with_its_own_text() {
    let telnyx = Telnyx::start().await;
    let api = Api::start(&telnyx.url).await;
    let expired = token_until("grace", "u", OffsetDateTime::now_utc().unix_timestamp() - 60);
    for (token, error) in [("", "missing token"), ("x.y.z", "invalid token"), (&expired, "token expired")] {
        for (status, answer) in [
            api.get(token, "/api/messages/history").await,
            api.get(token, "/api/messages/00000000-0000-0000-0000-000000000000").await,
            api.send(token, &message(&["+15551230101"])).await,
        ] {
            assert_eq!((status, &answer["error"]), (UNAUTHORIZED, &json!(error)));
            assert_eq!(answer["success"], json!(false));
        }
    }
    let bare = api.request("GET", "/api/messages/history").send().await.unwrap();
    assert_eq!(bare.status(), UNAUTHORIZED);
}

#[tokio::test]
async fn another_churchs_message_is_not_found() {
    let telnyx = Telnyx::start().await;
    let api = Api::start(&telnyx.url).await;
    let (grace, hope) = (token("grace", "u1"), token("hope", "u1"));
    let id = api.sent(&grace, &["+15551230101"]).await;
    let (status, answer) = api.get(&hope, &format!("/api/messages/{id}")).await;
    assert_eq!((status, &answer["code"]), (StatusCode::NOT_FOUND, &json!("message_not_found")));
    let (_, history) = api.get(&hope, "/api/messages/history").await;
    assert_eq!((&history["data"], &history["pagination"]["total"]), (&json!([]), &json!(0)));
    let (status, answer) = api.get(&hope, &format!("/api/messages/{id}/recipients")).await;
    assert_eq!((status, &answer["code"]), (StatusCode::NOT_FOUND, &json!("message_not_found")));
}

#[tokio::test]
async fn a_path_with_a_malformed_message_id_is_an_unknown_route() {
    let telnyx = Telnyx::start().await;
    let (api, token) = (Api::start(&telnyx.url).await, token("grace", "u"));
    for path in ["conversations", "conversations/recipients", "not-an-id", "%ff", "0/recipients"] {
        for method in ["GET", "POST", "DELETE"] {
            // With and without a token.
            for token in [&token, ""] {
                let request = api.request(method, &format!("/api/messages/{path}")).bearer_auth(token);
                let response = request.send().await.unwrap();
                assert_eq!(response.status(), StatusCode::NOT_FOUND, "{method} {path}");
                let answer: Value = response.json().await.unwrap();
                assert_eq!(answer["code"], "route_not_found", "{method} {path}");
            }
        }
    }
    let unknown = format!("/api/messages/{}", uuid::Uuid::nil());
    assert_eq!(api.get(&token, &unknown).await.1["code"], "message_not_found");
    let deleted = api.request("DELETE", &unknown).bearer_auth(&token).send().await.unwrap();
    assert_eq!(deleted.status(), StatusCode::NOT_FOUND);
    let changed = api.request("PUT", &unknown).bearer_auth(&token).send().await.unwrap();
    assert_eq!(changed.status(), StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test]
async fn ten_thousand_recipients_with_names_fit_and_are_paged() {
    let telnyx = Telnyx::start().await;
    // They wait, because this test is not about sending.
    let (api, token) =
        (Api::start_with(&telnyx.url, &["--telnyx-from=+15550000000"]).await, token("grace", "u"));
    let recipients: Vec<_> = (0..10_000)
        .map(|n| {
            let (id, name) = (format!("{n:0128}"), "አ".repeat(100));
            json!({"phone": format!("+1555{n:07}"), "memberId": id, "firstName": name, "lastName": name})
        })
        .collect();
    let soon = common::event::timestamp::to_text(OffsetDateTime::now_utc() + time::Duration::hours(1));
    let body = json!({"content": "Hello", "sendAt": soon, "recipients": recipients});
    let (status, answer) = api.send(&token, &body).await;
    assert_eq!(status, StatusCode::CREATED, "{answer}");
    let id = answer["data"]["id"].as_str().unwrap();

    let phones = |rows: &Value| {
        let rows = rows.as_array().unwrap();
        rows.iter().map(|row| row["member"]["phone"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let detail = api.message(&token, id).await;
    assert_eq!(detail["totalRecipients"], 10_000);
    let mut seen = phones(&detail["recipients"]);
    assert_eq!(seen.len(), 1_000);
    let mut cursor = detail["recipientsNext"].as_str().map(str::to_owned);
    while let Some(next) = cursor {
        let path = format!("/api/messages/{id}/recipients?cursor={next}");
        let (_, page) = api.get(&token, &path).await;
        seen.extend(phones(&page["data"]));
        cursor = page["pagination"]["nextCursor"].as_str().map(str::to_owned);
    }
    assert_eq!(seen, (0..10_000).map(|n| format!("+1555{n:07}")).collect::<Vec<_>>());

    let few = format!("/api/messages/{id}/recipients?limit=2&status=pending");
    let (_, page) = api.get(&token, &few).await;
    assert_eq!((phones(&page["data"]), &page["pagination"]["limit"]), (seen[..2].to_vec(), &json!(2)));
    let (_, none) = api.get(&token, &format!("/api/messages/{id}/recipients?status=read")).await;
    assert_eq!((&none["data"], &none["pagination"]["nextCursor"]), (&json!([]), &Value::Null));
    for (query, field) in [("limit=1001", "limit"), ("status=gone", "status"), ("cursor=x", "cursor")] {
        let (status, answer) = api.get(&token, &format!("/api/messages/{id}/recipients?{query}")).await;
        assert_eq!((status, &answer["details"][0]["field"]), (UNPROCESSABLE, &json!(field)));
    }
}

#[tokio::test]
async fn a_refusal_lists_problems_in_our_words_and_counts_them() {
    let telnyx = Telnyx::start().await;
    let (api, token) = (Api::start(&telnyx.url).await, token("grace", "u"));
    let (status, answer) = api.send(&token, &json!({"content": 5, "recipients": "+15551230101"})).await;
    assert_eq!(status, UNPROCESSABLE);
    let details = json!([
        {"field": "content", "message": "give a text"},
        {"field": "recipients", "message": "give a list"},
    ]);
    assert_eq!((&answer["details"], &answer["problemCount"]), (&details, &Value::Null));
    let (_, answer) = api.send(&token, &message(&["1"; 50])).await;
    assert_eq!((answer["details"].as_array().unwrap().len(), &answer["problemCount"]), (20, &json!(50)));
    assert!(answer["error"].as_str().unwrap().starts_with("50 fields"), "{answer}");
    let (_, answer) = api.send(&token, &message(&["(202) 555-0103"])).await;
    assert!(answer["details"][0]["message"].as_str().unwrap().contains("no country code"), "{answer}");
}

#[tokio::test]
async fn a_national_number_is_sent_to_in_the_default_country() {
    let telnyx = Telnyx::start().await;
    let api = Api::start_with(&telnyx.url, &["--telnyx-from=+15550000000", "--default-country=us"]).await;
    let token = token("grace", "u");
    let id = api.sent(&token, &["\u{202a}(202) 555-0103\u{202c}"]).await;
    api.accepted(&token, &id).await;
    assert_eq!(telnyx.posts_to("+12025550103"), 1);
    assert_eq!(api.message(&token, &id).await["recipients"][0]["member"]["phone"], "+12025550103");
}

#[tokio::test]
async fn every_failure_has_the_error_envelope() {
    let telnyx = Telnyx::start().await;
    let (api, token) = (Api::start(&telnyx.url).await, token("grace", "u"));
    let large = format!("{{\"content\":\"{}\"}}", "x".repeat(8 * 1024 * 1024));
    let sent = |body: String| api.post(&token, None, body);
    for (response, status, code) in [
        (api.request("GET", "/nowhere").send().await.unwrap(), StatusCode::NOT_FOUND, "route_not_found"),
        (
            api.request("DELETE", "/api/messages/send").send().await.unwrap(),
            StatusCode::METHOD_NOT_ALLOWED,
            "method_not_allowed",
        ),
        (
            api.request("GET", "/api/messages/send").send().await.unwrap(),
            StatusCode::METHOD_NOT_ALLOWED,
            "method_not_allowed",
        ),
        (sent(large).await, StatusCode::PAYLOAD_TOO_LARGE, "body_too_large"),
        (sent("{".into()).await, StatusCode::BAD_REQUEST, "body_malformed"),
        (sent("{}".into()).await, UNPROCESSABLE, "invalid"),
        (sent(message(&[]).to_string()).await, UNPROCESSABLE, "no_recipients"),
    ] {
        assert_eq!(response.status(), status, "{code}");
        let answer: Value = response.json().await.unwrap();
        assert_eq!((&answer["success"], &answer["code"]), (&json!(false), &json!(code)));
        assert!(answer["error"].is_string());
    }
    let (_, answer) = api.send(&token, &message(&["5551230101"])).await;
    assert_eq!(answer["details"][0]["field"], "recipients[0].phone");
    assert_eq!(telnyx.book().len(), 0);
}

#[tokio::test]
async fn a_front_end_on_localhost_can_read_answers_and_failures() {
    let telnyx = Telnyx::start().await;
    let api = Api::start(&telnyx.url).await;
    let origin = "http://localhost:5173";
    let preflight = api
        .request("OPTIONS", "/api/messages/send")
        .header("origin", origin)
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", "authorization,content-type,idempotency-key");
    let preflight = preflight.send().await.unwrap();
    assert_eq!(preflight.status(), StatusCode::OK);
    assert_eq!(preflight.headers()["access-control-max-age"], "3600");
    let allowed = preflight.headers()["access-control-allow-headers"].to_str().unwrap();
    for header in
        ["authorization", "idempotency-key", "traceparent", "x-requested-with", "sentry-trace", "baggage"]
    {
        assert!(allowed.split(',').any(|name| name == header), "{header} is not in {allowed}");
    }
    assert_eq!(preflight.headers()["access-control-allow-origin"], origin);
    let refused = api.request("GET", "/api/messages/history").header("origin", origin).send().await.unwrap();
    assert_eq!(refused.status(), UNAUTHORIZED);
    assert_eq!(refused.headers()["access-control-allow-origin"], origin);
}

#[tokio::test]
async fn a_repeated_send_gets_the_same_answer_and_is_sent_once() {
    let telnyx = Telnyx::start().await;
    let (api, token) = (Api::start(&telnyx.url).await, token("grace", "u"));
    let body = message(&["+15551230101"]).to_string();
    let mut answers = Vec::new();
    for _ in 0..2 {
        let response = api.post(&token, Some("key-1"), body.clone()).await;
        assert_eq!(response.status(), StatusCode::CREATED);
        answers.push(response.text().await.unwrap());
        let first: Value = serde_json::from_str(&answers[0]).unwrap();
        api.accepted(&token, first["data"]["id"].as_str().unwrap()).await;
    }
    assert_eq!(answers[0], answers[1]);
    let other = api.post(&token, Some("key-1"), message(&["+15551230102"]).to_string()).await;
    assert_eq!(other.status(), UNPROCESSABLE);
    assert_eq!(other.json::<Value>().await.unwrap()["code"], "idempotency_key_reused");
    api.settle().await;
    assert_eq!((telnyx.posts_to("+15551230101"), telnyx.posts_to("+15551230102")), (1, 0));
}

#[tokio::test]
async fn concurrent_requests_with_one_key_make_one_message() {
    let telnyx = Telnyx::start().await;
    let (api, token) = (Api::start(&telnyx.url).await, token("grace", "u"));
    let body = message(&["+15551230101"]).to_string();
    let post = async || {
        let response = api.post(&token, Some("once"), body.clone()).await;
        assert_eq!(response.status(), StatusCode::CREATED);
        response.text().await.unwrap()
    };
    let (a, b, c, d) = tokio::join!(post(), post(), post(), post());
    assert!(a == b && b == c && c == d);
    let (_, history) = api.get(&token, "/api/messages/history").await;
    assert_eq!(history["pagination"]["total"], 1);
    api.settle().await;
    assert_eq!(telnyx.posts_to("+15551230101"), 1);
}

#[tokio::test]
async fn a_refused_request_does_not_use_up_its_key() {
    let telnyx = Telnyx::start().await;
    let (api, token) = (Api::start(&telnyx.url).await, token("grace", "u"));
    let refused = api.post(&token, Some("k"), message(&["1"]).to_string()).await;
    assert_eq!(refused.status(), UNPROCESSABLE);
    let corrected = api.post(&token, Some("k"), message(&["+15551230101"]).to_string()).await;
    assert_eq!(corrected.status(), StatusCode::CREATED);
    // Another church may use the same key.
    let hope = crate::harness::token("hope", "u");
    let other = api.post(&hope, Some("k"), message(&["+15551230102"]).to_string()).await;
    assert_eq!(other.status(), StatusCode::CREATED);
}

#[tokio::test]
async fn pages_and_cursors_show_every_message_once_newest_first() {
    let telnyx = Telnyx::start().await;
    let (api, token) = (Api::start(&telnyx.url).await, token("grace", "u"));
    let mut sent = Vec::new();
    for _ in 0..7 {
        sent.insert(0, api.sent(&token, &["+15551230101"]).await);
    }
    let ids = |page: &Value| {
        let rows = page["data"].as_array().unwrap();
        rows.iter().map(|row| row["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let mut by_page = Vec::new();
    for page in 1..=3 {
        let (_, answer) = api.get(&token, &format!("/api/messages/history?page={page}&limit=3")).await;
        assert_eq!(answer["pagination"]["pages"], 3);
        by_page.extend(ids(&answer));
    }
    assert_eq!(by_page, sent);
    let (mut by_cursor, mut cursor) = (Vec::new(), String::new());
    loop {
        let (_, answer) = api.get(&token, &format!("/api/messages/history?limit=3&cursor={cursor}")).await;
        let is_counted = cursor.is_empty();
        assert_eq!(answer["pagination"]["total"].is_null(), !is_counted, "{answer}");
        assert_eq!(answer["pagination"]["pages"].is_null(), !is_counted, "{answer}");
        by_cursor.extend(ids(&answer));
        match answer["pagination"]["nextCursor"].as_str() {
            Some(next) => cursor = next.to_owned(),
            None => break,
        }
        // A new message does not shift the pages after a cursor.
        api.sent(&token, &["+15551230102"]).await;
    }
    assert_eq!(by_cursor, sent);
    for (query, field) in
        [("limit=101", "limit"), ("page=0", "page"), ("status=gone", "status"), ("cursor=x", "cursor")]
    {
        let (status, answer) = api.get(&token, &format!("/api/messages/history?{query}")).await;
        assert_eq!((status, &answer["details"][0]["field"]), (UNPROCESSABLE, &json!(field)));
    }
}

#[tokio::test]
async fn updated_since_with_as_of_finds_later_changes() {
    let telnyx = Telnyx::start().await;
    let (api, token) = (Api::start(&telnyx.url).await, token("grace", "u"));
    let (_, before) = api.get(&token, "/api/messages/history").await;
    let id = api.sent(&token, &["+15551230101"]).await;
    let since = before["asOf"].as_str().unwrap();
    let (status, changed) = api.get(&token, &format!("/api/messages/history?updatedSince={since}")).await;
    assert_eq!((status, &changed["data"][0]["id"]), (StatusCode::OK, &json!(id)));
    let (_, none) = api.get(&token, "/api/messages/history?updatedSince=2100-01-01T00:00:00Z").await;
    assert_eq!(none["data"], json!([]));
}

#[tokio::test]
async fn requests_are_counted_by_route_and_never_by_path() {
    let telnyx = Telnyx::start().await;
    let (api, token) = (Api::start(&telnyx.url).await, token("grace", "u"));
    let id = api.sent(&token, &["+15551230101"]).await;
    api.message(&token, &id).await;
    api.request("BREW", "/coffee").send().await.unwrap();
    let metrics = api.context.metrics.encode();
    for line in [
        r#"church_api_requests_total{method="POST",route="/api/messages/send",status="201"} 1"#,
        r#"church_api_requests_total{method="GET",route="/api/messages/{id}",status="200"} 1"#,
        r#"church_api_requests_total{method="other",route="unmatched",status="404"} 1"#,
    ] {
        assert!(metrics.contains(line), "{line} is not in:\n{metrics}");
    }
    assert!(!metrics.contains(&id) && !metrics.contains("coffee"));
}

#[tokio::test]
async fn the_committed_document_is_the_served_one() {
    let telnyx = Telnyx::start().await;
    let api = Api::start(&telnyx.url).await;
    let served: Value = api.request("GET", "/api/openapi.json").send().await.unwrap().json().await.unwrap();
    if *DOCUMENT != served {
        let current = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("openapi.json");
        std::fs::write(&current, serde_json::to_vec_pretty(&served).unwrap()).unwrap();
        panic!("{COMMITTED} is not up to date; update it with: cp {} {COMMITTED}", current.display());
    }
}
