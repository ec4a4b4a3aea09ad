//! What `ops audit` names, and how it repairs.

use serde_json::Value;
use tests::databases::{Kind, execute};
use tests::stack::TestStack;
use tests::{eventually, on_both_databases};
use uuid::Uuid;

use super::{AUTHOR, CHURCH, DELIVERED};

on_both_databases!(
    a_running_installation_adds_up,
    what_does_not_add_up_is_named_and_lost_events_are_announced_again,
);

async fn a_running_installation_adds_up(kind: Kind) {
    let stack = TestStack::start(kind).await;
    let id = stack.send(CHURCH, AUTHOR, &[DELIVERED]).await;
    stack.until_status(CHURCH, id, "delivered").await;
    // While another message is on its way.
    stack.send(CHURCH, AUTHOR, &[DELIVERED]).await;
    let said = stack.ops(&["audit", "--json"]).await;
    assert_eq!(said.code, 0, "{said:?}");
    let report = said.json();
    assert!(report["found"].as_array().unwrap().is_empty() && report["notes"].as_array().unwrap().is_empty());
    let without = [("NATS_OPS_PASSWORD", "")];
    let said = stack.ops_with_settings(&["audit"], &without).await;
    assert!(said.code == 0 && said.out.contains("the stream was not compared"), "{said:?}");
}

/// Verdict and kind of a finding by its id.
fn verdict(report: &Value, id: &str) -> Option<String> {
    let found = report["found"].as_array()?.iter().find(|found| found["id"] == id)?;
    Some(format!("{} {}", found["kind"].as_str()?, found["verdict"].as_str()?))
}

async fn what_does_not_add_up_is_named_and_lost_events_are_announced_again(kind: Kind) {
    let stack = TestStack::start(kind).await;
    let id = stack.send(CHURCH, AUTHOR, &[DELIVERED]).await;
    stack.until_status(CHURCH, id, "delivered").await;
    stack.until_announced().await;
    let stored = stack.stored(CHURCH).await;
    let (real, lost) = (stored[0].id.to_string(), Uuid::now_v7().to_string());
    let url = &stack.stack.file().database;
    // As if the stream had lost an event and held another one in its place.
    execute(
        url,
        &format!(
            "update outbox set event_id = '{lost}', payload = replace(payload, '{real}', '{lost}')
             where event_id = '{real}'"
        ),
    )
    .await;
    execute(url, &format!("update messages set delivered_count = 9 where id = '{id}'")).await;
    execute(url, "update webhooks set recipient_id = null where outcome = 'applied'").await;
    let said = stack.ops(&["audit", "--json"]).await;
    let report = said.json();
    assert_eq!(said.code, 1, "{report:#}");
    assert_eq!(verdict(&report, &lost).as_deref(), Some("event lost"), "{report:#}");
    assert_eq!(verdict(&report, &real).as_deref(), Some("event unknown"), "{report:#}");
    assert_eq!(verdict(&report, &id.to_string()).as_deref(), Some("message miscounted"), "{report:#}");
    let webhooks = report["found"].as_array().unwrap().iter().filter(|found| found["kind"] == "webhook");
    assert_eq!(Some(webhooks.count() as u64), report["unmatchedWebhooks"].as_u64(), "{report:#}");

    let said = stack.ops(&["audit", "--repair"]).await;
    assert!(said.out.contains("the relay announces 1 event again"), "{said:?}");
    eventually("the lost event is in the stream", async || {
        let stored = stack.stored(CHURCH).await;
        stored.iter().any(|event| event.id.to_string() == lost).then_some(())
    })
    .await;
    let report = eventually("the relay has noted it", async || {
        let report = stack.ops(&["audit", "--json"]).await.json();
        (report["waitingEvents"] == 0).then_some(report)
    })
    .await;
    assert_eq!(verdict(&report, &lost), None, "{report:#}");
}
