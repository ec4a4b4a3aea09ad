//! Processes are killed under load.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use tests::databases::Kind;
use tests::stack::TestStack;
use tests::{eventually, on_both_databases};

use super::{AUTHOR, CHURCH, borrowed, phones};

on_both_databases!(
    killing_webhook_ingest_under_load_loses_no_webhook,
    killing_everything_under_load_loses_no_event_and_sends_none_twice,
);

async fn killing_webhook_ingest_under_load_loses_no_webhook(kind: Kind) {
    let mut stack = TestStack::start_with(kind, |options| {
        options.environment.push(("message-api".into(), "SEND_RATE".into(), "1000".into()));
    })
    .await;
    let mut client = stack.client(CHURCH, AUTHOR).await;
    stack.telnyx().hold(true);
    let phones = phones(30);
    let phones = borrowed(&phones);
    let messages = join_all((0..10).map(|_| stack.send(CHURCH, AUTHOR, &phones))).await;
    stack.until_accepted(300).await;
    stack.telnyx().hold(false);
    let attempts = async || {
        let entries = stack.telnyx().entries();
        entries.into_iter().flat_map(|entry| entry.webhooks).collect::<Vec<_>>()
    };
    eventually("some webhooks are answered", async || (attempts().await.len() >= 50).then_some(())).await;
    stack.telnyx().hold_repetitions(true);
    stack.stack.kill("webhook-ingest").await.unwrap();
    eventually("a webhook finds no listener", async || {
        let entries = stack.telnyx().entries();
        entries.iter().any(|it| it.webhooks.iter().any(|it| it.answer.is_none())).then_some(())
    })
    .await;
    stack.stack.start_process("webhook-ingest").unwrap();
    stack.stack.ready("webhook-ingest").await.unwrap();
    stack.telnyx().hold_repetitions(false);

    for message in messages {
        let shown = stack.until_status(CHURCH, message, "delivered").await;
        assert_eq!(shown["deliveredCount"], 30, "{shown}");
    }
    eventually("every webhook is answered 200", async || {
        let entries = stack.telnyx().entries();
        let told = |entry: &deploy::simulator::Entry| {
            entry.webhooks.iter().filter(|it| it.answer == Some(200)).count() == 2
        };
        entries.iter().all(told).then_some(())
    })
    .await;
    let audit = stack.audit().await;
    assert!(audit.is_sound(), "{audit:?}");
    // Every webhook was recorded. One whose answer was lost with the process is recorded twice.
    assert_eq!(audit.accepted - audit.duplicate, 600, "{audit:?}");
    assert_eq!((audit.parked, audit.ignored), (0, 0), "{audit:?}");

    stack.until_announced().await;
    let events = stack.stored(CHURCH).await;
    client.until_event(events[events.len() - 1].id).await;
    let ids: Vec<_> = events.iter().map(|event| event.id).collect();
    assert_eq!(client.whole_events(), ids);
}

async fn killing_everything_under_load_loses_no_event_and_sends_none_twice(kind: Kind) {
    let mut stack = TestStack::start_with(kind, |options| {
        options.environment.push(("message-api".into(), "SEND_TIMEOUT".into(), "5s".into()));
        options.environment.push(("message-api".into(), "UNRESOLVED_AFTER".into(), "8s".into()));
    })
    .await;
    let mut client = stack.client(CHURCH, AUTHOR).await;
    let phones = phones(20);
    let phones = borrowed(&phones);
    let messages = join_all((0..5).map(|_| stack.send(CHURCH, AUTHOR, &phones))).await;
    // Some texts are delivered, some are in flight, and some still wait to be sent.
    while client.whole_events().len() < messages.len() + 2 {
        client.next().await;
    }
    let mut parts = vec!["realtime-gateway-1", "message-api", "webhook-ingest", deploy::nats::NAME];
    if kind == Kind::Postgres {
        parts.push(deploy::postgres::NAME);
    }
    stack.telnyx().hold_repetitions(true);
    for part in &parts {
        stack.stack.kill(part).await.unwrap();
    }
    for part in parts.iter().rev() {
        stack.stack.start_process(part).unwrap();
    }
    for service in &parts[..3] {
        stack.stack.ready(service).await.unwrap();
    }
    stack.telnyx().hold_repetitions(false);

    let asked = eventually("every message is finished, and each accepted one has its receipt", async || {
        let mut delivered = 0;
        for message in &messages {
            let shown = stack.message(CHURCH, *message).await;
            if shown["status"] == "pending" {
                return None;
            }
            delivered += shown["deliveredCount"].as_u64().unwrap();
        }
        let mut entries = stack.telnyx().entries();
        entries.retain(|entry| entry.accepted);
        (delivered == entries.len() as u64).then_some(entries)
    })
    .await;
    let recipients: BTreeSet<_> = asked.iter().map(|entry| entry.recipient_id()).collect();
    assert_eq!(recipients.len(), asked.len(), "no recipient is sent a text twice");
    let audit = stack.audit().await;
    assert!(audit.is_sound(), "{audit:?}");

    stack.until_announced().await;
    let events = stack.stored(CHURCH).await;
    client.until_event(events[events.len() - 1].id).await;
    let ids: Vec<_> = events.iter().map(|event| event.id).collect();
    assert_eq!(client.whole_events(), ids);
}
