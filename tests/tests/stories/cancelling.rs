//! Cancelling a broadcast that is under way, and who may do it. Telnyx's book is the judge.

use deploy::services::API;
use futures_util::future::join_all;
use serde_json::{Value, json};
use tests::databases::Kind;
use tests::message_api::MessageApi;
use tests::stack::TestStack;
use tests::{eventually, on_both_databases};
use uuid::Uuid;

use super::{AUTHOR, CHURCH, borrowed, phones};

on_both_databases!(
    what_was_cancelled_is_never_sent_and_the_rest_is_delivered,
    a_kill_of_both_processes_during_a_cancel_sends_no_cancelled_text,
);

async fn cancel(stack: &TestStack, base: &str, claims: &Value, message: Uuid) -> (u16, Value) {
    let request = reqwest::Client::new().delete(format!("{base}/api/messages/{message}"));
    let answer = request.bearer_auth(stack.token_with(claims)).send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

fn claims(user: &str, role: &str) -> Value {
    json!({"userId": user, "churchId": CHURCH, "role": role, "exp": 4_000_000_000_i64})
}

/// A stack that sends slowly enough to be caught in the middle, with a second message-api.
async fn slow_stack(kind: Kind) -> (TestStack, MessageApi) {
    let stack = TestStack::start_with(kind, |options| {
        for (name, value) in [("SEND_RATE", "20"), ("SEND_CONCURRENCY", "2"), ("SEND_ROLES", "PASTOR, ADMIN")]
        {
            options.environment.push((API.into(), name.into(), value.into()));
        }
    })
    .await;
    let second = MessageApi::start(&stack, "message-api-2", &[]).await;
    (stack, second)
}

async fn send(stack: &TestStack, phones: &[String]) -> Uuid {
    let token = stack.token_with(&claims(AUTHOR, "PASTOR"));
    let answer = stack.request(&token, None, &borrowed(phones)).send().await.unwrap();
    assert_eq!(answer.status(), 201);
    tests::stack::id_of(&answer.json::<Value>().await.unwrap()["data"])
}

/// The message once it is finished: whoever was cancelled got nothing, everybody else got the text.
async fn end(stack: &TestStack, message: Uuid, all: usize) -> (usize, usize) {
    let shown = eventually("the message is finished", async || {
        let shown = stack.message(CHURCH, message).await;
        (shown["status"] != "pending").then_some(shown)
    })
    .await;
    let taken = stack.sent_once();
    for recipient in shown["recipients"].as_array().unwrap() {
        let was_sent = taken.contains(&recipient["id"].as_str().unwrap().parse().unwrap());
        assert_eq!(recipient["failureCode"] == "cancelled", !was_sent, "{recipient}");
    }
    let count = |name: &str| usize::try_from(shown[name].as_u64().unwrap()).unwrap();
    assert_eq!(count("failedCount"), count("cancelledCount"), "{shown}");
    assert_eq!(count("deliveredCount") + count("cancelledCount"), all, "{shown}");
    (count("deliveredCount"), count("cancelledCount"))
}

async fn what_was_cancelled_is_never_sent_and_the_rest_is_delivered(kind: Kind) {
    let (stack, second) = slow_stack(kind).await;
    let phones = phones(200);
    let message = send(&stack, &phones).await;
    stack.until_accepted(3).await;
    let author = claims(AUTHOR, "USER");
    let (first_url, second_url) = (stack.stack.file().api.clone(), second.url());
    let bases = [&first_url, &second_url, &first_url];
    let answers = join_all(bases.map(|base| cancel(&stack, base, &author, message))).await;
    for (status, body) in &answers {
        assert_eq!(*status, 200, "{body}");
        assert_eq!(body["data"]["cancelled"], answers[0].1["data"]["cancelled"], "{answers:?}");
    }
    let (delivered, cancelled) = end(&stack, message, phones.len()).await;
    assert!(delivered >= 3 && cancelled > 0);
    assert_eq!(cancel(&stack, &first_url, &author, message).await.1["data"]["cancelled"], json!(cancelled));
    assert!(stack.audit().await.is_sound());
}

async fn a_kill_of_both_processes_during_a_cancel_sends_no_cancelled_text(kind: Kind) {
    let (mut stack, mut second) = slow_stack(kind).await;
    let phones = phones(100);
    let message = send(&stack, &phones).await;
    stack.until_accepted(3).await;
    stack.stack.terminate(API).await.unwrap();
    let (author, base) = (claims(AUTHOR, "USER"), second.url());
    // The answer may be lost; what was cancelled stays cancelled.
    let token = stack.token_with(&author);
    let request = reqwest::Client::new().delete(format!("{base}/api/messages/{message}")).bearer_auth(token);
    let cancelling = tokio::spawn(request.send());
    eventually("the cancel stands", async || {
        let audit = stack.store().message(&CHURCH.parse().unwrap(), message).await.unwrap().unwrap();
        (audit.tally.cancelled > 0).then_some(())
    })
    .await;
    second.kill().await;
    let _ = cancelling.await;
    stack.restart_message_api().await;
    second.restart().await;
    let (delivered, cancelled) = end(&stack, message, phones.len()).await;
    assert!(delivered >= 3 && cancelled > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_author_and_the_roles_that_may_send_can_cancel() {
    let (stack, _second) = slow_stack(Kind::Sqlite).await;
    let base = stack.stack.file().api.clone();
    let token = stack.token_with(&claims("ann", "USER"));
    let refused = stack.request(&token, None, &borrowed(&phones(1))).send().await.unwrap();
    assert_eq!(refused.status(), 403);
    assert_eq!(refused.json::<Value>().await.unwrap()["code"], "role_not_allowed");
    let message = send(&stack, &phones(1)).await;
    let (status, body) = cancel(&stack, &base, &claims("ann", "USER"), message).await;
    assert_eq!((status, &body["code"]), (403, &json!("role_not_allowed")));
    let mut foreign = claims("eve", "ADMIN");
    foreign["churchId"] = json!("hope");
    assert_eq!(cancel(&stack, &base, &foreign, message).await.0, 404);
    for allowed in [claims("bob", "ADMIN"), claims(AUTHOR, "USER")] {
        assert_eq!(cancel(&stack, &base, &allowed, message).await.0, 200);
    }
}

/// The church sees it at once, and the author gets no notification of a failure.
#[tokio::test(flavor = "multi_thread")]
async fn cancelling_before_the_first_text_left_is_seen_live_and_notifies_nobody() {
    let stack = TestStack::start(Kind::Sqlite).await;
    let mut client = stack.client(CHURCH, AUTHOR).await;
    let token = stack.token(CHURCH, AUTHOR);
    let body = json!({
        "content": "Service at ten",
        "recipients": [{"phone": super::DELIVERED}],
        "sendAt": (time::OffsetDateTime::now_utc() + time::Duration::days(1)).format(&time::format_description::well_known::Rfc3339).unwrap(),
    });
    let base = stack.stack.file().api.clone();
    let http = reqwest::Client::new();
    let answer = http.post(format!("{base}/api/messages/send")).bearer_auth(&token).json(&body).send().await;
    let answer: Value = answer.unwrap().json().await.unwrap();
    let message = tests::stack::id_of(&answer["data"]);
    let (_, answer) = cancel(&stack, &base, &claims(AUTHOR, "USER"), message).await;
    assert_eq!(answer["data"], json!({"id": message, "cancelled": 1, "alreadyLeft": 0}));
    let update = client.until_one(|seen| seen.event == "message:status_update").await.data;
    assert_eq!((&update["status"], &update["cancelledCount"]), (&json!("failed"), &json!(1)), "{update}");
    assert_eq!(update["failureReason"], json!(format!("Cancelled by {AUTHOR}.")));
    // What comes later would come after a notification.
    let later = stack.send(CHURCH, AUTHOR, &[super::DELIVERED]).await;
    client.until_one(|seen| seen.event == "notification").await;
    stack.until_status(CHURCH, later, "delivered").await;
    let told = client.seen().iter().filter(|seen| ["notification", "message:failed"].contains(&&*seen.event));
    assert!(told.clone().all(|seen| seen.data["messageId"] == json!(later)), "{:#?}", client.seen());
}
