//! The service while the database is away, after a crash and during a stop.

use common::store::{NewMessage, NewRecipient};
use reqwest::StatusCode;
use serde_json::{Value, json};
use time::OffsetDateTime;
use tokio::sync::watch;
use uuid::Uuid;

use crate::harness::{Api, eventually, message, store, token};
use crate::telnyx::{Reply, Telnyx};

const ADA: &str = "+15551230101";

#[tokio::test]
async fn without_a_database_requests_get_503_until_it_is_back() {
    let telnyx = Telnyx::start().await;
    let folder = tempfile::tempdir().unwrap();
    let more = ["--telnyx-from=+15550000000"];
    // The database file is a link into a folder that does not exist yet.
    std::os::unix::fs::symlink(folder.path().join("later/api.db"), folder.path().join("api.db")).unwrap();
    let api = Api::launch(folder, "api.db", &telnyx.url, &more).await;
    let token = token("grace", "u");
    let response = api.post(&token, None, message(&[ADA]).to_string()).await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(response.headers().contains_key("retry-after"));
    let answer: Value = response.json().await.unwrap();
    assert_eq!((&answer["success"], &answer["code"]), (&json!(false), &json!("unavailable")));
    assert!(!api.context.health.report().0);

    std::fs::create_dir(api.folder.path().join("later")).unwrap();
    eventually("it is ready", async || api.context.health.report().0).await;
    eventually("it serves", async || api.get(&token, "/api/messages/history").await.0 == StatusCode::OK)
        .await;
    let id = api.sent(&token, &[ADA]).await;
    api.accepted(&token, &id).await;
}

#[tokio::test]
async fn an_attempt_before_a_crash_is_not_posted_again() {
    let folder = tempfile::tempdir().unwrap();
    let before = store(&folder.path().join("api.db"));
    before.migrate().await.unwrap();
    let (now, id) = (OffsetDateTime::now_utc(), Uuid::now_v7());
    let recipient = NewRecipient {
        id: Uuid::now_v7(),
        phone: ADA.into(),
        member_id: None,
        first_name: None,
        last_name: None,
    };
    let message = NewMessage {
        id,
        church_id: "grace".parse().unwrap(),
        author_id: "u".into(),
        conversation_id: None,
        content: "Hello".into(),
        target_type: "individual".into(),
        media_urls: Vec::new(),
        from_number: Some("+15550000000".into()),
        messaging_profile_id: None,
        send_at: None,
        recipients: vec![recipient],
        created_at: now,
        trace_parent: None,
    };
    before.record_message(&message, None).await.unwrap();
    // The process dies after its commit: before the POST, or before the answer.
    assert_eq!(before.begin_attempts(10, OffsetDateTime::now_utc()).await.unwrap().len(), 1);

    let telnyx = Telnyx::start().await;
    let more = ["--telnyx-from=+15550000000", "--send-timeout=1s", "--unresolved-after=2s"];
    let api = Api::start_in(folder, &telnyx.url, &more).await;
    let (token, id) = (token("grace", "u"), id.to_string());
    eventually("it is closed", async || api.message(&token, &id).await["status"] == "failed").await;
    api.settle().await;
    assert_eq!(telnyx.posts_to(ADA), 0);
    assert_eq!(api.message(&token, &id).await["recipients"][0]["failureCode"], "unresolved");
}

#[tokio::test]
async fn a_stop_waits_for_the_answers_under_way_and_records_them() {
    let telnyx = Telnyx::start().await;
    let (api, token) = (Api::start(&telnyx.url).await, token("grace", "u"));
    let (open, gate) = watch::channel(false);
    telnyx.plan(move |_| Reply::AcceptBehind(gate.clone()));
    let id: Uuid = api.sent(&token, &[ADA]).await.parse().unwrap();
    eventually("it is under way", async || telnyx.posts_to(ADA) == 1).await;
    let store = api.store.clone();
    api.context.shutdown.cancel();
    let stopping = tokio::spawn(api.stop());
    open.send(true).unwrap();
    let _folder = stopping.await.unwrap();
    let message = store.message(&"grace".parse().unwrap(), id).await.unwrap().unwrap();
    assert!(message.sent_at.is_some());
}

#[tokio::test]
async fn answers_wait_for_the_database_and_nothing_is_posted_twice() {
    let telnyx = Telnyx::start().await;
    let (api, token) = (Api::start(&telnyx.url).await, token("grace", "u"));
    let (open, gate) = watch::channel(false);
    telnyx.plan(move |_| Reply::AcceptBehind(gate.clone()));
    let id = api.sent(&token, &[ADA, "+15551230102"]).await;
    eventually("both are under way", async || telnyx.book().len() == 2).await;

    // Another writer holds the file's lock for longer than every timeout.
    let file = api.folder.path().join("api.db");
    let mut other = connect(&file).await;
    sqlx::query("begin immediate").execute(&mut other).await.unwrap();
    open.send(true).unwrap();
    let waiting = |number: usize| {
        let line = format!("church_api_answers_waiting {number}\n");
        api.context.metrics.encode().contains(&line)
    };
    eventually("the answers wait", async || !waiting(0)).await;
    let refused = api.post(&token, None, message(&["+15551230103"]).to_string()).await;
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(!waiting(0));

    sqlx::query("rollback").execute(&mut other).await.unwrap();
    api.accepted(&token, &id).await;
    eventually("nothing waits any more", async || waiting(0)).await;
    api.settle().await;
    assert_eq!((telnyx.posts_to(ADA), telnyx.posts_to("+15551230102")), (1, 1));
}

async fn connect(file: &std::path::Path) -> sqlx::SqliteConnection {
    use sqlx::ConnectOptions as _;
    sqlx::sqlite::SqliteConnectOptions::new().filename(file).connect().await.unwrap()
}
