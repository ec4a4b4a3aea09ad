//! SQLite answers late, never, or after a commit whose answer is lost: another process holds the write lock of the
//! file, or message-api is killed before its answer leaves.

use std::time::Duration;

use deploy::simulator::{Hold, Rule};
use serde_json::{Value, json};
use sqlx::{ConnectOptions as _, Connection as _, Executor as _, SqliteConnection};
use tests::databases::Kind;
use tests::eventually;
use tests::message_api::MessageApi;
use tests::proxy::Proxy;
use tests::stack::{TestStack, id_of};

use super::{AUTHOR, CHURCH, DELIVERED, borrowed, phones};

/// The write lock of a stack's file, held by a process that is none of its services.
struct WriteLock(SqliteConnection);

impl WriteLock {
    async fn take(stack: &TestStack) -> Self {
        let file: sqlx::sqlite::SqliteConnectOptions = stack.stack.file().database.parse().unwrap();
        let mut connection = file.busy_timeout(Duration::from_secs(30)).connect().await.unwrap();
        connection.execute("begin immediate").await.unwrap();
        Self(connection)
    }

    async fn release(mut self) {
        self.0.execute("rollback").await.unwrap();
        self.0.close().await.unwrap();
    }
}

async fn recorded(stack: &TestStack, church: &str) -> Vec<Value> {
    let (status, history) = stack.get(church, AUTHOR, "/api/messages/history").await;
    assert_eq!(status, 200, "reading needs no lock");
    history["data"].as_array().unwrap().clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_send_that_gets_the_write_lock_late_is_recorded_once() {
    let stack = TestStack::start(Kind::Sqlite).await;
    let lock = WriteLock::take(&stack).await;
    let pressing = tokio::spawn(stack.request(&stack.token(CHURCH, AUTHOR), None, &[DELIVERED]).send());
    assert!(recorded(&stack, CHURCH).await.is_empty());
    lock.release().await;
    let answer = pressing.await.unwrap().unwrap();
    assert_eq!(answer.status(), 201);
    let message = id_of(&answer.json::<Value>().await.unwrap()["data"]);
    stack.until_status(CHURCH, message, "delivered").await;
    assert_eq!((recorded(&stack, CHURCH).await.len(), stack.sent_once().len()), (1, 1));
}

/// Nothing was begun, so the answer is certain: with and without a key it says "unavailable, try again".
#[tokio::test(flavor = "multi_thread")]
async fn a_send_that_never_gets_the_write_lock_is_not_recorded_and_says_so() {
    let stack = TestStack::start(Kind::Sqlite).await;
    let lock = WriteLock::take(&stack).await;
    let token = stack.token(CHURCH, AUTHOR);
    for key in [None, Some("press")] {
        let answer = stack.request(&token, key, &[DELIVERED]).send().await.unwrap();
        let (status, retry) = (answer.status().as_u16(), answer.headers().contains_key("retry-after"));
        let body: Value = answer.json().await.unwrap();
        assert_eq!((status, &body["code"], retry), (503, &json!("unavailable"), true), "{key:?}: {body}");
    }
    lock.release().await;
    assert!(recorded(&stack, CHURCH).await.is_empty());
    let answer = stack.request(&token, Some("press"), &[DELIVERED]).send().await.unwrap();
    let message = id_of(&answer.json::<Value>().await.unwrap()["data"]);
    stack.until_status(CHURCH, message, "delivered").await;
    assert_eq!(stack.sent_once().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_send_whose_process_dies_between_commit_and_answer_is_the_same_message_when_repeated() {
    let stack = TestStack::start(Kind::Sqlite).await;
    // A process that dies during a POST to Telnyx leaves another question open: see kills.rs.
    assert_eq!(stack.ops(&["pause", "sending"]).await.code, 0);
    let mut victim = MessageApi::start(&stack, "message-api-victim", &[]).await;
    let proxy = Proxy::to(&victim.url()).await;
    proxy.hold_answers(true);
    let token = stack.token(CHURCH, AUTHOR);
    let mut press = victim.request(&token, Some("press"), &[DELIVERED]).build().unwrap();
    let through: reqwest::Url = proxy.url().parse().unwrap();
    press.url_mut().set_port(through.port()).unwrap();
    let pressing = tokio::spawn(async move { reqwest::Client::new().execute(press).await });
    let committed = eventually("the commit stands", async || recorded(&stack, CHURCH).await.pop()).await;
    victim.kill().await;
    proxy.cut();
    assert!(pressing.await.unwrap().is_err(), "the answer is lost");
    let again = stack.request(&token, Some("press"), &[DELIVERED]).send().await.unwrap();
    assert_eq!(again.status(), 201);
    assert_eq!(id_of(&again.json::<Value>().await.unwrap()["data"]), id_of(&committed));
    assert_eq!(stack.ops(&["resume", "sending"]).await.code, 0);
    stack.until_status(CHURCH, id_of(&committed), "delivered").await;
    assert_eq!((recorded(&stack, CHURCH).await.len(), stack.sent_once().len()), (1, 1));
}

/// Telnyx's answers come while nothing can be recorded, and no recipient can be claimed.
#[tokio::test(flavor = "multi_thread")]
async fn answers_and_claims_that_wait_for_the_write_lock_send_nothing_twice() {
    let stack = TestStack::start_with(Kind::Sqlite, |options| {
        options.environment.push((deploy::services::API.into(), "SEND_CONCURRENCY".into(), "5".into()));
    })
    .await;
    // Telnyx gives a webhook up that is refused for long.
    stack.telnyx().hold(true);
    let rule = Rule { hold: Some(Hold::Unanswered), times: Some(5), ..Rule::default() };
    stack.telnyx().add_rule(rule);
    let phones = phones(20);
    let message = stack.send(CHURCH, AUTHOR, &borrowed(&phones)).await;
    eventually("five requests wait", async || (stack.telnyx().held_requests() == 5).then_some(())).await;
    let lock = WriteLock::take(&stack).await;
    stack.telnyx().release_requests();
    let api = &stack.stack.file().ops.api;
    eventually("answers wait", async || (stack.sum(api, "api_answers_waiting").await > 0.0).then_some(()))
        .await;
    eventually("the service says that it can't write", async || {
        let (status, body) = stack.readiness(api).await;
        (status != 200 || body.contains("degraded")).then_some(())
    })
    .await;
    lock.release().await;
    stack.telnyx().hold(false);
    let shown = stack.until_status(CHURCH, message, "delivered").await;
    assert_eq!((&shown["deliveredCount"], stack.sent_once().len()), (&json!(20), 20), "{shown}");
    assert!(stack.audit().await.is_sound());
}
