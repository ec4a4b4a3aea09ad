//! How operators pause sending, and cancel and retry messages.

use deploy::services::FROM;
use deploy::simulator::{Answer, Rule};
use serde_json::Value;
use tests::databases::Kind;
use tests::eventually;
use tests::ops::ops;
use tests::stack::TestStack;

use super::{AUTHOR, CHURCH, DELIVERED, SILENT};

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_church_waits_while_others_send_and_goes_on_when_it_is_resumed() {
    let stack = TestStack::start(Kind::Sqlite).await;
    let earlier = stack.send(CHURCH, AUTHOR, &[DELIVERED]).await;
    stack.until_status(CHURCH, earlier, "delivered").await;
    let paused = stack.ops(&["pause", "sending", "--church", CHURCH]).await;
    assert!(paused.out.contains("paused for grace by operator:anna"), "{paused:?}");
    let waits = stack.send(CHURCH, AUTHOR, &[DELIVERED]).await;
    let goes = stack.send("hope", AUTHOR, &[DELIVERED]).await;
    stack.until_status("hope", goes, "delivered").await;
    assert_eq!(stack.message(CHURCH, waits).await["status"], "pending");
    let api = stack.stack.file().ops.api.clone();
    eventually("readiness tells of the pause", async || {
        let (status, said) = stack.readiness(&api).await;
        (status == 200
            && said.contains(
                "degraded: sending (paused by operators for grace; `ops resume sending --church grace`",
            ))
        .then_some(())
    })
    .await;
    assert_eq!(stack.telnyx().entries().len(), 2);
    let resumed = stack.ops(&["resume", "sending", "--church", CHURCH]).await;
    assert!(resumed.code == 0 && resumed.out.contains("nothing is paused"), "{resumed:?}");
    stack.until_status(CHURCH, waits, "delivered").await;
    assert_eq!(stack.ops(&["resume", "sending"]).await.code, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_of_an_unknown_church_or_without_a_name_is_refused() {
    let stack = TestStack::start(Kind::Sqlite).await;
    let unknown = stack.ops(&["pause", "sending", "--church", "hoep"]).await;
    let says = "nothing of the church hoep is recorded";
    assert!(unknown.code == 1 && unknown.err.contains(says), "{unknown:?}");
    let pause = ["pause", "sending"];
    for user in [&[][..], &[("USER", "")]] {
        let settings = [&[("DATABASE_URL", &*stack.stack.file().database)][..], user].concat();
        let nameless = ops(&pause, &settings).await;
        assert!(nameless.code == 2 && nameless.err.contains("--as NAME"), "{nameless:?}");
        assert!(stack.store().pauses().await.unwrap().is_empty());
    }
    let named = stack.ops(&["pause", "sending", "--as", "bob"]).await;
    assert!(named.code == 0 && named.out.contains("by operator:bob"), "{named:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_of_everybody_lets_an_operator_cancel_before_anything_leaves() {
    let stack = TestStack::start(Kind::Sqlite).await;
    stack.ops(&["pause", "sending"]).await;
    let id = stack.send(CHURCH, AUTHOR, &[DELIVERED, SILENT]).await;
    let cancelled = stack.ops(&["cancel", &id.to_string()]).await;
    assert!(cancelled.out.contains("no text for 2 recipients"), "{cancelled:?}");
    stack.ops(&["resume", "sending"]).await;
    stack.until_status(CHURCH, id, "failed").await;
    let life = stack.ops(&["message", &id.to_string(), "--json"]).await.json();
    assert_eq!(life[0]["cancelledBy"], "operator:anna");
    assert!(stack.telnyx().entries().is_empty());
    let nothing = stack.ops(&["retry", &id.to_string(), "--telnyx-from", FROM]).await;
    assert!(nothing.code == 1 && nothing.err.contains("nobody is left"), "{nothing:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_by_an_operator_is_a_new_message_with_its_name() {
    let stack = TestStack::start(Kind::Sqlite).await;
    stack.telnyx().add_rule(Rule {
        phone: DELIVERED.into(),
        answer: Answer::Refuse { status: 400, code: "40010".into() },
        times: Some(1),
        ..Rule::default()
    });
    let id = stack.send(CHURCH, AUTHOR, &[DELIVERED]).await;
    stack.until_status(CHURCH, id, "failed").await;
    let without = stack.ops(&["retry", &id.to_string()]).await;
    assert!(without.code == 1 && without.err.contains("TELNYX_FROM"), "{without:?}");
    let words = ["retry", &id.to_string(), "--telnyx-from", FROM];
    let retried = stack.ops(&words).await;
    assert!(retried.code == 0 && retried.out.contains("goes to 1 recipient of"), "{retried:?}");
    let new = retried.out.split(' ').nth(1).unwrap().parse().unwrap();
    let message = stack.until_status(CHURCH, new, "delivered").await;
    assert_eq!(message["retryOf"], id.to_string());
    let again = stack.ops(&words).await;
    assert!(again.code == 0 && again.out.contains("was retried before"), "{again:?}");
    let senders = stack.ops(&["sender", "--church", "hope", "--number", "+15550000009", "--rate", "3"]).await;
    assert_eq!(senders.code, 0);
    let senders = stack.ops(&["senders", "--json"]).await.json();
    assert_eq!((&senders[0]["churchId"], &senders[0]["rate"]), (&"hope".into(), &3.into()));
    assert_eq!(senders.as_array().unwrap().len(), 1);
    let listed = stack.ops(&["senders"]).await.out;
    assert!(listed.contains("TELNYX_FROM is not set here"), "{listed}");
    let senders = stack.ops_with_settings(&["senders", "--json"], &[]).await.json();
    assert_eq!((&senders[1]["churchId"], &senders[1]["number"]), (&Value::Null, &FROM.into()));
    let listed = stack.ops_with_settings(&["senders"], &[]).await.out;
    assert!(
        listed.lines().any(|line| line.starts_with("all other churches") && line.contains(FROM)),
        "{listed}"
    );
}
