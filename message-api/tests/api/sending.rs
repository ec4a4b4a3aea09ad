//! Sending: from a recorded message to Telnyx's answer.

use std::sync::atomic::{AtomicUsize, Ordering};

use common::store::Sender;
use reqwest::StatusCode;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::harness::{Api, any_church, eventually, message, token};
use crate::telnyx::{Reply, Telnyx};

const ADA: &str = "+15551230101";
const BEA: &str = "+15551230102";

#[tokio::test]
async fn each_recipient_is_posted_once_with_its_own_webhook_url() {
    let telnyx = Telnyx::start().await;
    let (api, token) = (Api::start(&telnyx.url).await, token("grace", "u"));
    let mut body = message(&[ADA, BEA, ADA]);
    body["mediaUrls"] = json!(["https://example.org/a.png"]);
    let (status, answer) = api.send(&token, &body).await;
    assert_eq!((status, &answer["data"]["totalRecipients"]), (StatusCode::CREATED, &json!(2)));
    let id = answer["data"]["id"].as_str().unwrap();
    eventually("both are posted", async || telnyx.book().len() == 2).await;
    let detail = api.message(&token, id).await;
    for posted in telnyx.book() {
        let recipients = detail["recipients"].as_array().unwrap();
        let recipient = recipients.iter().find(|r| r["member"]["phone"] == posted.body["to"]).unwrap();
        let recipient = recipient["id"].as_str().unwrap();
        let expected = json!({"to": posted.to(), "from": "+15550000000", "text": "Service is at ten",
            "media_urls": ["https://example.org/a.png"], "use_profile_webhooks": false,
            "webhook_url": format!("https://hooks.example.org/webhooks/telnyx/{recipient}")});
        assert_eq!(posted.body, expected);
        assert!(posted.head.starts_with("post /v2/messages http/1.1\r\n"), "{}", posted.head);
        assert!(posted.head.contains("authorization: bearer key-of-the-test"), "{}", posted.head);
    }
}

#[tokio::test]
async fn a_message_that_may_be_accepted_is_never_posted_again() {
    let telnyx = Telnyx::start().await;
    let more = ["--telnyx-from=+15550000000", "--send-timeout=1s", "--unresolved-after=2s"];
    let (api, token) = (Api::start_with(&telnyx.url, &more).await, token("grace", "u"));
    let phones =
        ["+15551230110", "+15551230111", "+15551230112", "+15551230113", "+15551230114", "+15551230115"];
    telnyx.plan(move |posted| match posted.to() {
        "+15551230110" => Reply::Lose,
        "+15551230111" => Reply::Cut,
        "+15551230112" => Reply::Silence,
        "+15551230113" => Reply::Refuse(500, "", "10011"),
        "+15551230114" => Reply::Refuse(503, "retry-after: 1\r\n", "40318"),
        "+15551230115" => Reply::Refuse(408, "", "x"),
        _ => Reply::Accept,
    });
    let id = api.sent(&token, &phones).await;
    eventually("all were posted and are closed", async || {
        api.message(&token, &id).await["status"] == "failed"
    })
    .await;
    api.settle().await;
    for phone in phones {
        assert_eq!(telnyx.posts_to(phone), 1, "{phone}");
    }
    let detail = api.message(&token, &id).await;
    for recipient in detail["recipients"].as_array().unwrap() {
        assert_eq!(recipient["failureCode"], "unresolved");
    }
}

#[tokio::test]
async fn a_throttled_message_is_posted_until_it_is_accepted() {
    let telnyx = Telnyx::start().await;
    let (api, token) = (Api::start(&telnyx.url).await, token("grace", "u"));
    let posts = AtomicUsize::new(0);
    telnyx.plan(move |_| match posts.fetch_add(1, Ordering::Relaxed) {
        0 => Reply::Refuse(429, "retry-after: 1\r\n", "10011"),
        1 => Reply::Refuse(401, "", "10009"),
        _ => Reply::Accept,
    });
    let id = api.sent(&token, &[ADA]).await;
    api.accepted(&token, &id).await;
    api.settle().await;
    assert_eq!(telnyx.posts_to(ADA), 3);
}

#[tokio::test]
async fn an_unsent_message_is_sent_once_telnyx_can_be_reached() {
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let (api, token) = (Api::start(&format!("http://{address}")).await, token("grace", "u"));
    let id = api.sent(&token, &[ADA]).await;
    let failed = "church_api_sends_total{outcome=\"not_accepted\"} ";
    eventually("the attempt failed", async || {
        let metrics = api.context.metrics.encode();
        metrics.split(failed).nth(1).is_some_and(|rest| !rest.starts_with('0'))
    })
    .await;
    let telnyx = Telnyx::listen(TcpListener::bind(address).await.unwrap());
    api.accepted(&token, &id).await;
    api.settle().await;
    assert_eq!(telnyx.posts_to(ADA), 1);
}

#[tokio::test]
async fn a_permanent_refusal_fails_the_recipient_with_its_reason() {
    let telnyx = Telnyx::start().await;
    let (api, token) = (Api::start(&telnyx.url).await, token("grace", "u"));
    telnyx.plan(|_| Reply::Refuse(400, "", "40300"));
    let id = api.sent(&token, &[ADA]).await;
    eventually("it failed", async || api.message(&token, &id).await["status"] == "failed").await;
    let detail = api.message(&token, &id).await;
    assert_eq!(detail["recipients"][0]["failureCode"], "40300");
    assert!(detail["failureReason"].as_str().unwrap().contains("STOP"));
    let (_, history) = api.get(&token, "/api/messages/history?status=failed").await;
    assert_eq!(history["data"][0]["id"], json!(id));
    assert_eq!(telnyx.posts_to(ADA), 1);
}

#[tokio::test]
async fn a_small_church_does_not_wait_for_a_large_one() {
    let telnyx = Telnyx::start().await;
    let more = ["--telnyx-from=+15550000000", "--send-concurrency=1"];
    let api = Api::start_with(&telnyx.url, &more).await;
    let (open, gate) = watch::channel(false);
    telnyx.plan(move |_| Reply::AcceptBehind(gate.clone()));
    let many: Vec<_> = (0..50).map(|n| format!("+155512340{n:02}")).collect();
    let many: Vec<_> = many.iter().map(String::as_str).collect();
    api.sent(&token(&any_church(), "u"), &many).await;
    eventually("the large church's first is under way", async || telnyx.book().len() == 1).await;
    let small = token(&any_church(), "u");
    let id = api.sent(&small, &[ADA]).await;
    open.send(true).unwrap();
    api.accepted(&small, &id).await;
    let turn = telnyx.book().iter().position(|posted| posted.to() == ADA).unwrap();
    assert!(turn <= 2, "it was number {turn}");
}

#[tokio::test]
async fn a_church_sends_from_its_own_number_and_not_without_one() {
    let telnyx = Telnyx::start().await;
    let api = Api::start_with(&telnyx.url, &[]).await;
    let (church, church_token) = ("hope", token("hope", "u"));
    let (status, answer) = api.send(&church_token, &message(&[ADA])).await;
    assert_eq!((status, &answer["code"]), (StatusCode::UNPROCESSABLE_ENTITY, &json!("no_sender")));
    let own = Sender {
        church_id: church.parse().unwrap(),
        number: "+15557654321".into(),
        messaging_profile_id: Some("profile-of-hope".into()),
        rate: None,
    };
    api.store.set_sender(&own).await.unwrap();
    let id = api.sent(&church_token, &[ADA]).await;
    api.accepted(&church_token, &id).await;
    let posted = &telnyx.book()[0].body;
    assert_eq!(
        (&posted["from"], &posted["messaging_profile_id"]),
        (&json!(own.number), &json!("profile-of-hope"))
    );
}

#[tokio::test]
async fn telnyx_gets_the_failover_url_if_it_is_set() {
    let telnyx = Telnyx::start().await;
    let more = ["--telnyx-from=+15550000000", "--public-webhook-failover-url=https://second.example.org/"];
    let (api, token) = (Api::start_with(&telnyx.url, &more).await, token("grace", "u"));
    let id = api.sent(&token, &[ADA]).await;
    api.accepted(&token, &id).await;
    let recipient = api.message(&token, &id).await["recipients"][0]["id"].as_str().unwrap().to_owned();
    let posted = &telnyx.book()[0].body;
    assert_eq!(
        posted["webhook_failover_url"],
        json!(format!("https://second.example.org/webhooks/telnyx/{recipient}"))
    );
    assert_eq!(posted["use_profile_webhooks"], json!(false));
}

#[tokio::test]
async fn the_answer_to_a_send_estimates_its_duration() {
    let telnyx = Telnyx::start().await;
    let more = ["--telnyx-from=+15550000000", "--send-rate=2"];
    let (api, token) = (Api::start_with(&telnyx.url, &more).await, token("grace", "u"));
    let id = api.sent(&token, &[ADA]).await;
    api.accepted(&token, &id).await;
    let phones: Vec<_> = (0..10).map(|n| format!("+155512340{n:02}")).collect();
    let phones: Vec<_> = phones.iter().map(String::as_str).collect();
    let (_, answer) = api.send(&token, &message(&phones)).await;
    assert_eq!(answer["data"]["estimatedSeconds"], json!(5), "{answer}");
}

#[tokio::test]
async fn a_scheduled_message_is_not_sent_early() {
    let telnyx = Telnyx::start().await;
    let (api, token) = (Api::start(&telnyx.url).await, token("grace", "u"));
    let later = time::OffsetDateTime::now_utc() + time::Duration::hours(1);
    let mut body = message(&[ADA]);
    body["sendAt"] = json!(common::event::timestamp::to_text(later));
    assert_eq!(api.send(&token, &body).await.0, StatusCode::CREATED);
    api.settle().await;
    assert_eq!(telnyx.posts_to(ADA), 0);
    let soon = time::OffsetDateTime::now_utc() + time::Duration::milliseconds(300);
    body["sendAt"] = json!(common::event::timestamp::to_text(soon));
    assert_eq!(api.send(&token, &body).await.0, StatusCode::CREATED);
    eventually("its time came", async || telnyx.posts_to(ADA) == 1).await;
}

#[tokio::test]
async fn a_message_that_telnyx_no_longer_has_is_closed_as_sent() {
    let telnyx = Telnyx::start().await;
    let more = ["--telnyx-from=+15550000000", "--unconfirmed-after=1s", "--ask-after=1s"];
    let (api, token) = (Api::start_with(&telnyx.url, &more).await, token("grace", "u"));
    let id = api.sent(&token, &[ADA]).await;
    eventually("it is closed", async || api.message(&token, &id).await["status"] == "sent").await;
    let detail = api.message(&token, &id).await;
    assert_eq!((&detail["unconfirmedCount"], &detail["failedCount"]), (&json!(1), &json!(0)));
}
