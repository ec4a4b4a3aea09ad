//! How operators find failures and webhooks that changed nothing, and mend them.

use tests::databases::Kind;
use tests::eventually;
use tests::report::Report;
use tests::stack::TestStack;

use super::{AUTHOR, BLOCKED, CHURCH, DELIVERED, SILENT};

#[tokio::test(flavor = "multi_thread")]
async fn failures_are_counted_by_reason_and_name_each_recipient() {
    let stack = TestStack::start(Kind::Sqlite).await;
    let said = stack.ops(&["failures"]).await;
    assert!(said.code == 0 && said.out.contains("no recipient failed"), "{said:?}");
    let id = stack.send(CHURCH, AUTHOR, &[DELIVERED, BLOCKED]).await;
    stack.until_status(CHURCH, id, "delivered").await;
    let said = stack.ops(&["failures", "--since", "1h", "--json"]).await;
    let failures = said.json();
    let reason = &failures["reasons"][0];
    assert_eq!(
        (said.code, &reason["code"], &reason["recipients"]),
        (1, &"40300".into(), &1.into()),
        "{said:?}"
    );
    let recipient = &failures["recipients"][0];
    assert_eq!((&recipient["phone"], &recipient["messageId"]), (&BLOCKED.into(), &id.to_string().into()));
    for nobody in [["--church", "hope"], ["--code", "40001"]] {
        let said = stack.ops(&[&["failures"][..], &nobody].concat()).await;
        assert_eq!(said.code, 0, "{said:?}");
        let is_unknown = said.out.contains("note: nothing of the church hope is recorded");
        assert_eq!(is_unknown, nobody[1] == "hope", "{said:?}");
    }
    let counted = stack.ops(&["failures"]).await.out;
    assert!(counted.contains(" 1 text  last"), "{counted}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_that_no_church_got_is_processed_again_once_the_church_has_the_number() {
    let stack = TestStack::start(Kind::Sqlite).await;
    let number = "+15550000009";
    stack.receive(DELIVERED, number, "Thank you").await;
    let words = ["reprocess", "--reason", "no church's", "--json"];
    let dry = stack.ops(&words).await.json();
    assert_eq!(
        (&dry["dryRun"], &dry["webhooks"][0]["outcome"]),
        (&true.into(), &"ignored".into()),
        "{dry:#}"
    );
    stack.ops(&["sender", "--church", "hope", "--number", number]).await;
    let dry = stack.ops(&words).await.json();
    assert_eq!(dry["webhooks"][0]["outcome"], "received", "{dry:#}");
    assert_eq!(stack.audit().await.received, 0, "a dry run changes nothing");
    let done = stack.ops(&[&words[..], &["--yes"]].concat()).await;
    assert_eq!((done.code, &done.json()["webhooks"][0]["outcome"]), (0, &"received".into()), "{done:?}");
    let audit = stack.audit().await;
    assert!(audit.received == 1 && audit.ignored == 0 && audit.is_sound(), "{audit:?}");
    let again = stack.ops(&[&words[..], &["--yes"]].concat()).await.json();
    assert_eq!(again["webhooks"].as_array().unwrap().len(), 0, "{again:#}");
    let (_, texts) = stack.get("hope", AUTHOR, "/api/messages/inbound").await;
    assert_eq!(texts["data"].as_array().map(Vec::len), Some(1), "{texts:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parked_webhook_is_listed_and_processed_by_its_id() {
    let stack = TestStack::start(Kind::Sqlite).await;
    let said = stack.ops(&["parked"]).await;
    assert!(said.code == 0 && said.out.contains("no webhook is parked"), "{said:?}");
    stack.send(CHURCH, AUTHOR, &[SILENT]).await;
    let mut entry = stack.until_accepted(1).await.remove(0);
    // Of a message that nobody knows.
    entry.id = uuid::Uuid::now_v7();
    entry.request["webhook_url"] = "https://elsewhere.example.org/".into();
    let report = Report::of(&entry, "delivered");
    assert_eq!(stack.report(&report).await.status(), 200);
    let event = report.event_id.to_string();
    let parked = eventually("the webhook is parked", async || {
        let said = stack.ops(&["parked", "--json"]).await;
        (said.code == 1).then(|| said.json())
    })
    .await;
    assert_eq!(
        (&parked[0]["eventId"], &parked[0]["telnyxId"]),
        (&event.clone().into(), &entry.id.to_string().into())
    );
    let again = stack.ops(&["reprocess", "--event", &event, "--yes"]).await;
    assert!(again.code == 0 && again.out.contains("parked"), "{again:?}");
    assert!(stack.audit().await.is_sound());
}
