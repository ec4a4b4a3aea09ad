//! A message is sent again to those whom it did not reach for a reason that has passed.

use deploy::services::API;
use deploy::simulator::{Answer, Rule};
use futures_util::future::join_all;
use serde_json::{Value, json};
use tests::databases::Kind;
use tests::message_api::MessageApi;
use tests::on_both_databases;
use tests::stack::{TestStack, id_of};
use uuid::Uuid;

use super::{AUTHOR, BLOCKED, CHURCH, DELIVERED};

on_both_databases!(two_presses_at_two_processes_retry_each_recipient_once,);

async fn retry(stack: &TestStack, base: &str, claims: &Value, message: Uuid) -> (u16, Value) {
    let request = reqwest::Client::new().post(format!("{base}/api/messages/{message}/retry"));
    let answer = request.bearer_auth(stack.token_with(claims)).send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

fn claims(user: &str) -> Value {
    json!({"userId": user, "churchId": CHURCH, "exp": 4_000_000_000_i64})
}

/// A message of which one recipient failed for a passing reason, one opted out, and one got it.
async fn half_failed(stack: &TestStack) -> Uuid {
    let busy = "+12029990101";
    stack.telnyx().add_rule(Rule {
        phone: busy.into(),
        answer: Answer::Refuse { status: 400, code: "40010".into() },
        times: Some(1),
        ..Rule::default()
    });
    let message = stack.send(CHURCH, AUTHOR, &[busy, BLOCKED, DELIVERED]).await;
    let shown = stack.until_status(CHURCH, message, "delivered").await;
    assert_eq!(shown["failedCount"], 2, "{shown}");
    message
}

async fn two_presses_at_two_processes_retry_each_recipient_once(kind: Kind) {
    let stack = TestStack::start(kind).await;
    let second = MessageApi::start(&stack, "message-api-2", &[]).await;
    let message = half_failed(&stack).await;
    let author = claims(AUTHOR);
    let bases = [stack.stack.file().api.clone(), second.url()];
    let mut answers = join_all(bases.each_ref().map(|base| retry(&stack, base, &author, message))).await;
    answers.sort_by_key(|(status, _)| *status);
    let statuses: Vec<u16> = answers.iter().map(|(status, _)| *status).collect();
    assert_eq!(statuses, [200, 201], "{answers:?}");
    let (first, again) = (id_of(&answers[1].1["data"]), id_of(&answers[0].1["data"]));
    assert_eq!(first, again);
    let shown = stack.until_status(CHURCH, first, "delivered").await;
    assert_eq!((&shown["totalRecipients"], &shown["retryOf"]), (&json!(1), &json!(message)), "{shown}");
    assert!(stack.audit().await.is_sound());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_is_for_the_author_and_the_roles_that_may_send() {
    let stack = TestStack::start_with(Kind::Sqlite, |options| {
        options.environment.push((API.into(), "SEND_ROLES".into(), "ADMIN".into()));
    })
    .await;
    let base = stack.stack.file().api.clone();
    let mut admin = claims("admin");
    admin["role"] = json!("ADMIN");
    let token = stack.token_with(&admin);
    let answer = stack.request(&token, None, &[BLOCKED]).send().await.unwrap();
    let message = id_of(&answer.json::<Value>().await.unwrap()["data"]);
    stack.until_status(CHURCH, message, "failed").await;
    assert_eq!(retry(&stack, &base, &claims("ann"), message).await.0, 403);
    let (status, body) = retry(&stack, &base, &admin, message).await;
    assert_eq!((status, &body["code"]), (422, &json!("nothing_to_retry")));
    assert_eq!(retry(&stack, &base, &admin, Uuid::nil()).await.0, 404);
}
