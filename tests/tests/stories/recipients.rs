//! Recipients that the product's own back end names: groups, branches, members and everybody.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Redirect, Response};
use axum::routing::post;
use deploy::services::API;
use deploy::tools;
use serde_json::{Value, json};
use tests::client::Client;
use tests::databases::Kind;
use tests::frontend::{Block, Code};
use tests::on_both_databases;
use tests::stack::{TestStack, id_of};
use tokio::net::TcpListener;

use super::{AUTHOR, CHURCH, DELIVERED};

on_both_databases!(the_first_front_ends_page_sends_unchanged,);

const SECRET: &str = "a-secret-of-the-back-end";

/// What a back end answers to a question.
type Answers = fn(&Value) -> Response;

/// A back end that keeps what it was asked.
struct Directory {
    url: String,
    asked: Arc<Mutex<Vec<Value>>>,
}

impl Directory {
    async fn start(answers: Answers) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/members", listener.local_addr().unwrap());
        let asked = Arc::<Mutex<Vec<Value>>>::default();
        let heard = asked.clone();
        let answer = async move |headers: HeaderMap, body: String| {
            assert_eq!(headers[header::AUTHORIZATION], format!("Bearer {SECRET}"));
            let question: Value = serde_json::from_str(&body).unwrap();
            heard.lock().unwrap().push(question.clone());
            if question["targetType"] == "branches" {
                // Slower than any limit.
                std::future::pending::<()>().await;
            }
            answers(&question)
        };
        let router = Router::new().route("/members", post(answer.clone())).route("/elsewhere", post(answer));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, asked }
    }

    fn asked(&self) -> Vec<Value> {
        self.asked.lock().unwrap().clone()
    }
}

/// A stack whose message-api asks this back end.
async fn asking(url: &str) -> TestStack {
    let settings = [
        ("RECIPIENTS_URL", url.to_owned()),
        ("RECIPIENTS_SECRET", SECRET.into()),
        ("DEFAULT_COUNTRY", "US".into()),
        // Half of it is the back end's.
        ("API_REQUEST_TIMEOUT", "20s".into()),
    ];
    TestStack::start_with(Kind::Sqlite, |options| {
        options.environment.extend(settings.map(|(name, value)| (API.into(), name.into(), value)));
    })
    .await
}

async fn send(stack: &TestStack, body: &Value, key: Option<&str>) -> (u16, Value) {
    send_in(stack, CHURCH, body, key).await
}

async fn send_in(stack: &TestStack, church: &str, body: &Value, key: Option<&str>) -> (u16, Value) {
    let token = stack.token_with(&json!({
        "adminId": AUTHOR, "churchId": church, "role": "PASTOR", "exp": 4_000_000_000_i64,
    }));
    let http = reqwest::Client::builder().timeout(Duration::from_secs(60)).build().unwrap();
    let mut request = http.post(format!("{}/api/messages/send", stack.stack.file().api)).bearer_auth(token);
    if let Some(key) = key {
        request = request.header("Idempotency-Key", key);
    }
    let answer = request.json(body).send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

fn to(target_type: &str, ids: &[&str]) -> Value {
    json!({ "content": "Service at ten", "targetType": target_type, "targetIds": ids })
}

async fn messages(stack: &TestStack) -> usize {
    let (_, history) = stack.get(CHURCH, AUTHOR, "/api/messages/history").await;
    history["data"].as_array().unwrap().len()
}

/// The calls of the page that the product has today, against the stack's own back end.
async fn the_first_front_ends_page_sends_unchanged(kind: Kind) {
    let stack = TestStack::start(kind).await;
    for (target_type, ids, recipients) in [
        ("groups", Some(json!(["choir", "ushers"])), 6),
        ("branches", Some(json!(["north"])), 6),
        ("individual", Some(json!(["m1", "m3"])), 2),
        ("all", None, 12),
    ] {
        let mut body = json!({ "content": "Service at ten", "targetType": target_type });
        if let Some(ids) = ids {
            body["targetIds"] = ids;
        }
        let (status, answer) = send(&stack, &body, None).await;
        assert_eq!((status, &answer["success"]), (201, &json!(true)), "{answer}");
        let data = &answer["data"];
        assert_eq!(
            (&data["targetType"], &data["totalRecipients"]),
            (&json!(target_type), &json!(recipients))
        );
        assert_eq!((&data["content"], &data["status"]), (&json!("Service at ten"), &json!("pending")));
        assert!(data["id"].is_string() && data["createdAt"].is_string(), "{data}");
        let end = if target_type == "individual" || target_type == "groups" { "delivered" } else { "read" };
        let end = if target_type == "branches" { "delivered" } else { end };
        let shown = stack.until_status(CHURCH, id_of(data), end).await;
        assert!(shown["recipients"][0]["member"]["firstName"].is_string(), "{shown}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_are_followed_and_each_number_is_sent_one_text() {
    let directory = Directory::start(|question| {
        let page = match question["cursor"].as_str() {
            None => json!({"next": "2", "recipients": [
                {"phone": "+12025550101", "memberId": "m1", "firstName": "Ann"},
                {"phone": "no number"},
                {"phone": null, "memberId": "m3"},
                {"memberId": "m4"},
                {"phone": "+12025552101", "memberId": "m".repeat(200)},
            ]}),
            Some("2") => json!({"next": "3", "recipients": []}),
            _ => json!({"next": null, "recipients": [
                {"phone": "(202) 555-0101", "memberId": "m2"},
                {"phone": "202-555-1101"},
            ]}),
        };
        axum::Json(page).into_response()
    })
    .await;
    let stack = asking(&directory.url).await;
    let (status, answer) = send(&stack, &to("groups", &["choir", "youth"]), None).await;
    assert_eq!((status, &answer["data"]["totalRecipients"]), (201, &json!(3)), "{answer}");
    assert_eq!(answer["data"]["skippedRecipients"], 3);
    let shown = stack.until_status(CHURCH, id_of(&answer["data"]), "delivered").await;
    // An id that is cut would be another member's.
    assert_eq!(shown["recipients"][1]["member"]["id"], Value::Null, "{shown}");
    assert_eq!(stack.sent_once().len(), 3);
    let question = |cursor: Option<&str>| {
        let mut question = json!({
            "churchId": CHURCH, "userId": AUTHOR, "role": "PASTOR",
            "targetType": "groups", "targetIds": ["choir", "youth"],
        });
        if let Some(cursor) = cursor {
            question["cursor"] = json!(cursor);
        }
        question
    };
    assert_eq!(directory.asked(), [question(None), question(Some("2")), question(Some("3"))]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_key_asks_nobody_and_gets_the_same_answer() {
    let directory =
        Directory::start(|_| axum::Json(json!({"recipients": [{"phone": DELIVERED}]})).into_response()).await;
    let stack = asking(&directory.url).await;
    let body = to("groups", &["choir"]);
    let (status, first) = send(&stack, &body, Some("press")).await;
    assert_eq!(status, 201);
    let (status, again) = send(&stack, &body, Some("press")).await;
    assert_eq!((status, &again["data"]["id"]), (201, &first["data"]["id"]));
    let (status, other) = send(&stack, &to("groups", &["youth"]), Some("press")).await;
    assert_eq!((status, &other["code"]), (422, &json!("idempotency_key_reused")));
    assert_eq!((directory.asked().len(), messages(&stack).await), (1, 1));
}

/// The id of the target chooses what goes wrong.
fn wrong(question: &Value) -> Response {
    let page = |page: Value| axum::Json(page).into_response();
    match question["targetIds"][0].as_str().unwrap() {
        "unknown" => page(json!({"recipients": [], "unknown": ["unknown"]})),
        "404" => StatusCode::NOT_FOUND.into_response(),
        "nobody" => page(json!({"recipients": []})),
        "no-numbers" => page(json!({"recipients": [{"phone": "1"}]})),
        "401" => StatusCode::UNAUTHORIZED.into_response(),
        "500" => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        "redirect" => Redirect::temporary("/elsewhere").into_response(),
        "no-json" => "{".into_response(),
        "other-json" => page(json!({"members": []})),
        "large" => Body::from(vec![b' '; 2 << 20]).into_response(),
        "same-page" => page(json!({"recipients": [], "next": "more"})),
        "endless" => {
            let page_number: u64 = question["cursor"].as_str().map_or(0, |cursor| cursor.parse().unwrap());
            page(json!({"recipients": [], "next": (page_number + 1).to_string()}))
        }
        "too-many" => {
            let first: u64 = question["cursor"].as_str().map_or(0, |cursor| cursor.parse().unwrap());
            let phone = |number: u64| json!({"phone": format!("+1202{:07}", 2_000_000 + number)});
            let phones: Vec<Value> = (first..first + 5_000).map(phone).collect();
            page(json!({"recipients": phones, "next": (first + 5_000).to_string()}))
        }
        other => panic!("nothing goes wrong with {other}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_goes_wrong_has_its_code_and_nothing_is_recorded() {
    let directory = Directory::start(wrong).await;
    let mut stack = asking(&directory.url).await;
    for (id, status, code) in [
        ("unknown", 422, "unknown_target"),
        ("404", 422, "unknown_target"),
        ("nobody", 422, "no_recipients"),
        ("no-numbers", 422, "no_recipients"),
        ("401", 502, "recipients_unavailable"),
        ("500", 502, "recipients_unavailable"),
        ("redirect", 502, "recipients_unavailable"),
        ("no-json", 502, "recipients_unavailable"),
        ("other-json", 502, "recipients_unavailable"),
        ("large", 502, "recipients_unavailable"),
        ("same-page", 502, "recipients_unavailable"),
        ("too-many", 422, "too_many_recipients"),
    ] {
        let (found, answer) = send(&stack, &to("groups", &[id]), Some(id)).await;
        assert_eq!((found, &answer["code"]), (status, &json!(code)), "{id}: {answer}");
    }
    let pages = |id: &str| directory.asked().iter().filter(|asked| asked["targetIds"][0] == id).count();
    assert_eq!(pages("same-page"), 2, "a page that leads to itself is asked for once more");
    // The last of the pages or the time limit, whichever comes first.
    let (status, answer) = send(&stack, &to("groups", &["endless"]), None).await;
    assert!([502, 504].contains(&status) && pages("endless") <= 1_000, "{answer}");
    let expected = if status == 502 { "recipients_unavailable" } else { "recipients_timed_out" };
    assert_eq!(answer["code"], expected, "{answer}");
    let (_, answer) = send(&stack, &to("groups", &["unknown"]), None).await;
    assert_eq!(answer["details"][0]["field"], "targetIds[0]", "{answer}");
    let (status, answer) = send(&stack, &to("branches", &["slow"]), None).await;
    assert_eq!((status, &answer["code"]), (504, &json!("recipients_timed_out")), "{answer}");
    assert!(directory.asked().iter().all(|question| question["churchId"] == CHURCH));
    assert_eq!(messages(&stack).await, 0);
    stack.stack.stop_telnyx().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_back_end_that_is_down_or_not_set_has_its_code() {
    let stack = asking("http://127.0.0.1:1/members").await;
    let api = &stack.stack.file().ops.api;
    let wrong = "church_api_recipients_questions_total{outcome=\"wrong\"}";
    assert_eq!(stack.metric(api, wrong).await, 0.0);
    let (status, answer) = send(&stack, &to("groups", &["choir"]), None).await;
    assert_eq!((status, &answer["code"]), (502, &json!("recipients_unavailable")), "{answer}");
    let (status, readiness) = stack.readiness(api).await;
    let says =
        "degraded: recipients (RECIPIENTS_URL gave no recipients at the last question: it can't be reached)";
    assert!(status == 200 && readiness.lines().any(|line| line == says), "{readiness}");
    assert_eq!(stack.metric(api, wrong).await, 1.0);
    let stack = asking("").await;
    let (status, answer) = send(&stack, &to("groups", &["choir"]), None).await;
    assert_eq!((status, &answer["code"]), (422, &json!("directory_unavailable")), "{answer}");
    assert_eq!(messages(&stack).await, 0);
}

/// The endpoint that docs/recipients.md shows, run by Node.
#[tokio::test(flavor = "multi_thread")]
async fn the_documented_endpoint_names_the_recipients_of_each_target() {
    let code = Code::unpacked().await;
    let document = std::fs::read_to_string(tools::project().join("docs/recipients.md")).unwrap();
    let blocks = Block::all(&document);
    let endpoint = blocks.iter().find(|block| block.file == "recipients.mjs").unwrap();
    code.write("recipients.mjs", &endpoint.text);
    let mut back_end = Client::run(code.program("directory.mjs", &[SECRET]));
    let url = back_end.until("listening").await.data;
    let stack = asking(url.as_str().unwrap()).await;
    for (target_type, ids, phones) in [
        ("groups", &["choir"][..], &["+12025551101", "+12025552101"][..]),
        ("branches", &["south"], &["+12025552101", "+12025553101"]),
        ("individual", &["m3"], &["+12025553101"]),
        ("all", &[], &["+12025551101", "+12025552101", "+12025553101"]),
    ] {
        let (status, answer) = send(&stack, &to(target_type, ids), None).await;
        assert_eq!(status, 201, "{target_type}: {answer}");
        let shown = stack.message(CHURCH, id_of(&answer["data"])).await;
        let recipients = shown["recipients"].as_array().unwrap();
        let found: Vec<_> = recipients.iter().map(|it| it["member"]["phone"].as_str().unwrap()).collect();
        assert_eq!(found, phones, "{target_type}");
    }
    for ids in [&["band"][..], &["choir", "band"]] {
        let (status, answer) = send(&stack, &to("groups", ids), None).await;
        assert_eq!((status, &answer["code"]), (422, &json!("unknown_target")), "{answer}");
    }
    // Several pages, and the last member of a page leaves while the next page is asked for.
    let (status, answer) = send_in(&stack, "hope", &to("all", &[]), None).await;
    assert_eq!((status, &answer["data"]["totalRecipients"]), (201, &json!(2_501)), "{answer}");
    // Members of another church are not found.
    let (_, answer) = send(&stack, &to("individual", &["m5"]), None).await;
    assert_eq!(answer["code"], "unknown_target", "{answer}");
}
