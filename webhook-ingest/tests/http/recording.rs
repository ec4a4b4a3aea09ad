//! The effects of webhooks on the database.

use common::status::MessageStatus;
use common::store::{Outcome, StoreOptions};
use common::telemetry::Metrics;
use tokio_util::sync::CancellationToken;
use webhook_ingest::metrics::IngestMetrics;
use webhook_ingest::settings::QueueOptions;
use webhook_ingest::signature::{PublicKeys, SignatureHeaders};
use webhook_ingest::{commit, parse};

use super::*;

#[tokio::test]
async fn a_repeated_receipt_changes_the_message_once() {
    let ingest = Ingest::start().await;
    let sent = ingest.send(&[PHONE]).await;
    ingest.accept(sent.recipients[0], "m1").await;
    let before = ingest.message(&sent).await;
    let receipt = webhook("message.finalized", "delivered", "m1").to_string();
    let posts = (0..12).map(|_| ingest.post(&receipt));
    assert!(futures_util::future::join_all(posts).await.iter().all(|answered| answered.status == 200));
    let after = ingest.message(&sent).await;
    assert_eq!((after.status, after.version), (MessageStatus::Delivered, before.version + 1));
    let audit = ingest.store.audit().await.unwrap();
    assert_eq!((audit.accepted, audit.applied, audit.duplicate), (12, 1, 11));
    // A late `sent` is counted and changes nothing.
    ingest.post(webhook("message.sent", "sent", "m1").to_string()).await;
    assert_eq!(ingest.message(&sent).await, after);
    assert_eq!(ingest.store.audit().await.unwrap().stale, 1);
    ingest.stop().await;
}

#[tokio::test]
async fn a_webhook_before_its_message_is_parked_and_applied_later() {
    let ingest = Ingest::start().await;
    let receipt = webhook("message.finalized", "delivered", "m1").to_string();
    assert_eq!(ingest.post(&receipt).await.status, 200);
    assert_eq!(ingest.store.audit().await.unwrap().parked, 1);
    let sent = ingest.send(&[PHONE]).await;
    ingest.accept(sent.recipients[0], "m1").await;
    assert_eq!(ingest.message(&sent).await.status, MessageStatus::Delivered);
    let audit = ingest.store.audit().await.unwrap();
    assert_eq!((audit.accepted, audit.applied, audit.parked), (1, 1, 0));
    ingest.stop().await;
}

#[tokio::test]
async fn the_recipient_is_read_from_the_signed_url_not_from_the_path() {
    let ingest = Ingest::start().await;
    let [first, second] = [ingest.send(&[PHONE]).await, ingest.send(&[PHONE]).await];
    let mut body = webhook("message.finalized", "delivered", "m1");
    body["data"]["payload"]["webhook_url"] =
        json!(format!("https://hooks.example.org/x/webhooks/telnyx/{}?y=1", first.recipients[0]));
    let body = body.to_string().into_bytes();
    let headers = signed(&body, 0);
    let forged = format!("/webhooks/telnyx/{}", second.recipients[0]);
    assert_eq!(ingest.post_to(&forged, body, &headers).await.status, 200);
    assert_eq!(ingest.message(&first).await.status, MessageStatus::Delivered);

    let unnamed = webhook("message.finalized", "delivered", "m2").to_string().into_bytes();
    let headers = signed(&unnamed, 0);
    assert_eq!(ingest.post_to(&forged, unnamed, &headers).await.status, 200);
    assert_eq!(ingest.message(&second).await.status, MessageStatus::Pending);
    assert_eq!(ingest.store.audit().await.unwrap().parked, 1);
    ingest.stop().await;
}

#[tokio::test]
async fn two_webhooks_of_one_recipient_in_one_commit_have_own_outcomes() {
    for (order, outcomes, versions) in [
        (
            [("message.sent", "sent"), ("message.finalized", "delivered")],
            [Outcome::Applied, Outcome::Applied],
            1,
        ),
        (
            [("message.finalized", "delivered"), ("message.sent", "sent")],
            [Outcome::Applied, Outcome::Stale],
            1,
        ),
    ] {
        let ingest = Ingest::start().await;
        let sent = ingest.send(&[PHONE]).await;
        ingest.accept(sent.recipients[0], "m1").await;
        let before = ingest.message(&sent).await;
        // The committer starts when both wait, so that they are in one commit.
        let metrics = IngestMetrics::new(&Metrics::default());
        let places = QueueOptions { ingest_queue_bytes: 64 << 20, ingest_batch: 8.try_into().unwrap() };
        let (queue, committer) = commit::queue(places, ingest.store.clone(), metrics);
        let keys = PublicKeys::parse(&public_key(SEED)).unwrap();
        let waiting = order.map(|(event, status)| {
            let body = webhook(event, status, "m1").to_string().into_bytes();
            let mut headers = axum::http::HeaderMap::new();
            for (name, value) in signed(&body, 0) {
                headers.insert(name, value.parse().unwrap());
            }
            let now = OffsetDateTime::now_utc();
            let signature = SignatureHeaders::read(&headers, now).unwrap();
            let verified = signature.verify(body.into(), &keys).unwrap();
            queue.reserve(0).unwrap().commit(parse::webhook(&verified, None, now).webhook)
        });
        let [first, second] = waiting;
        let committing = async {
            // The biased join polls it after the two.
            let closing = CancellationToken::new();
            closing.cancel();
            committer.run(closing).await;
        };
        let (first, second, ()) = tokio::join!(biased; first, second, committing);
        assert_eq!([first.unwrap(), second.unwrap()], outcomes);
        let after = ingest.message(&sent).await;
        assert_eq!((after.status, after.version - before.version), (MessageStatus::Delivered, versions));
        ingest.stop().await;
    }
}

#[tokio::test]
async fn a_failed_recipient_gives_the_message_its_failure_reason() {
    let ingest = Ingest::start().await;
    let sent = ingest.send(&[PHONE]).await;
    ingest.accept(sent.recipients[0], "m1").await;
    let mut body = webhook("message.finalized", "delivery_failed", "m1");
    body["data"]["payload"]["errors"] = json!([{"code": "40300", "title": "Blocked due to STOP message"}]);
    ingest.post(body.to_string()).await;
    let message = ingest.message(&sent).await;
    assert_eq!(message.status, MessageStatus::Failed);
    assert_eq!(message.failure_reason.as_deref(), Some("The recipient has opted out (STOP)."));
    // The carrier was wrong: a late receipt wins.
    ingest.post(webhook("message.finalized", "delivered", "m1").to_string()).await;
    assert_eq!(ingest.message(&sent).await.status, MessageStatus::Delivered);
    ingest.stop().await;
}

#[tokio::test]
async fn webhooks_during_a_commit_share_the_next_one() {
    let ingest = Ingest::with(&["--ingest-batch", "64"]).await;
    let bodies: Vec<_> =
        (0..200).map(|number| webhook("message.sent", "sent", &format!("m{number}")).to_string()).collect();
    let posts = bodies.iter().map(|body| ingest.post(body));
    assert!(futures_util::future::join_all(posts).await.iter().all(|answered| answered.status == 200));
    assert!(ingest.shows("church_ingest_batch_webhooks_sum 200.0"));
    let metrics = ingest.context.metrics.encode();
    let commits =
        metrics.lines().find_map(|line| line.strip_prefix("church_ingest_batch_webhooks_count ")).unwrap();
    assert!((4..200).contains(&commits.parse::<u32>().unwrap()), "{commits} commits");
    ingest.stop().await;
}

#[tokio::test]
async fn the_sweep_finds_recipients_that_another_process_recorded() {
    let ingest = Ingest::start().await;
    let church_id: ChurchId = "grace".parse().unwrap();
    let message = new_message(&church_id, &[PHONE]);
    let mut body = webhook("message.finalized", "delivered", "m1");
    body["data"]["payload"]["webhook_url"] =
        json!(format!("https://hooks.example.org/webhooks/telnyx/{}", message.recipients[0].id));
    assert_eq!(ingest.post(body.to_string()).await.status, 200);
    let database_url = format!("sqlite:{}", ingest._folder.path().join("record.db").display()).into();
    let elsewhere = Store::new(&StoreOptions { database_url, database_connections: 1 }).unwrap();
    elsewhere.record_message(&message, None).await.unwrap();
    let delivered = async || {
        let message = ingest.store.message(&church_id, message.id).await.unwrap().unwrap();
        message.status == MessageStatus::Delivered
    };
    eventually("the sweep finds it", delivered).await;
    eventually("it is counted", async || ingest.shows("church_ingest_parked_applied_total 1")).await;
    ingest.stop().await;
}
