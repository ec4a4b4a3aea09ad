//! No text is sent twice, whatever becomes of the answer or of the sender.

use std::collections::BTreeSet;

use deploy::simulator::{Answer, Rule};
use serde_json::json;
use tests::databases::Kind;
use tests::proxy::Proxy;
use tests::stack::TestStack;
use tests::{eventually, on_both_databases};

use super::{AUTHOR, BLOCKED, CHURCH, DELIVERED, borrowed, phones};

on_both_databases!(
    a_text_whose_answer_was_lost_is_not_sent_again_and_its_webhook_resolves_it,
    a_text_that_was_throttled_is_sent_again,
    a_phone_that_answered_stop_fails_with_that_reason,
    when_message_api_is_killed_in_the_middle_of_a_broadcast_no_phone_is_asked_twice,
);

async fn a_text_whose_answer_was_lost_is_not_sent_again_and_its_webhook_resolves_it(kind: Kind) {
    let mut stack = TestStack::start(kind).await;
    stack.telnyx().hold(true);
    stack.telnyx().add_rule(Rule { answer: Answer::Lose, times: Some(2), ..Rule::default() });
    let phones = phones(3);
    let message = stack.send(CHURCH, AUTHOR, &borrowed(&phones)).await;
    let ops = stack.stack.file().ops.api.clone();
    eventually("two answers are lost", async || {
        (stack.metric(&ops, r#"church_api_sends_total{outcome="unresolved"}"#).await == 2.0).then_some(())
    })
    .await;
    // Whatever waited to be sent again would go before what is sent now, by this process or by the next one.
    stack.send(CHURCH, AUTHOR, &[DELIVERED]).await;
    stack.until_accepted(4).await;
    stack.stack.terminate("message-api").await.unwrap();
    stack.stack.start_process("message-api").unwrap();
    stack.stack.ready("message-api").await.unwrap();
    stack.send(CHURCH, AUTHOR, &[DELIVERED]).await;
    let entries = stack.until_accepted(5).await;
    let asked: BTreeSet<_> = entries.iter().map(|entry| entry.recipient_id()).collect();
    assert_eq!((asked.len(), entries.len()), (5, 5), "one request for each recipient");
    assert_eq!(entries.iter().filter(|entry| entry.answer.is_none()).count(), 2);
    assert_eq!(stack.message(CHURCH, message).await["status"], "pending");

    stack.telnyx().hold(false);
    let shown = stack.until_status(CHURCH, message, "delivered").await;
    assert_eq!(shown["deliveredCount"], 3, "{shown}");
    assert_eq!(stack.telnyx().totals(), (5, 5));
}

async fn a_text_that_was_throttled_is_sent_again(kind: Kind) {
    let stack = TestStack::start(kind).await;
    let answer = Answer::Throttle { retry_after: 1 };
    stack.telnyx().add_rule(Rule { answer, times: Some(2), ..Rule::default() });
    let message = stack.send(CHURCH, AUTHOR, &[DELIVERED]).await;
    let shown = stack.until_status(CHURCH, message, "delivered").await;
    assert_eq!(shown["version"], 2, "the front end sees nothing of it");
    let answers: Vec<_> = stack.telnyx().entries().iter().map(|entry| entry.answer).collect();
    assert_eq!(answers, [Some(429), Some(429), Some(200)]);
}

async fn a_phone_that_answered_stop_fails_with_that_reason(kind: Kind) {
    let stack = TestStack::start(kind).await;
    let mut client = stack.client(CHURCH, AUTHOR).await;
    let message = stack.send(CHURCH, AUTHOR, &[BLOCKED]).await;
    let shown = stack.until_status(CHURCH, message, "failed").await;
    let recipient = &shown["recipients"][0];
    let reason = recipient["failureReason"].as_str().unwrap();
    assert!(reason.contains("opted out") && reason.contains("STOP"), "{reason}");
    assert_eq!((&recipient["status"], &recipient["failureCode"]), (&json!("failed"), &json!("40300")));
    let failed = client.until("message:failed").await.data;
    assert_eq!(failed["failureReason"], recipient["failureReason"]);
    assert_eq!(failed["failedCount"], 1);

    let mixed = stack.send(CHURCH, AUTHOR, &[BLOCKED, DELIVERED]).await;
    let shown = stack.until_status(CHURCH, mixed, "delivered").await;
    assert_eq!((&shown["failedCount"], &shown["deliveredCount"]), (&json!(1), &json!(1)));
    assert_eq!(stack.telnyx().totals(), (3, 1), "the blocked phone is asked once for each message");
}

async fn when_message_api_is_killed_in_the_middle_of_a_broadcast_no_phone_is_asked_twice(kind: Kind) {
    let proxy = Proxy::to("http://127.0.0.1:1").await;
    let mut stack = TestStack::start_with(kind, |options| {
        let mut set = |name: &str, value: &str| {
            options.environment.push(("message-api".into(), name.into(), value.into()));
        };
        set("TELNYX_BASE_URL", &proxy.url());
        set("SEND_RATE", "1000");
        // What was recorded as attempted and never got out.
        set("SEND_TIMEOUT", "4s");
        set("UNRESOLVED_AFTER", "5s");
    })
    .await;
    proxy.lead_to(&stack.stack.file().telnyx);
    let phones = phones(100);
    let message = stack.send(CHURCH, AUTHOR, &borrowed(&phones)).await;
    // Some are answered; then Telnyx takes more, and nobody hears its answers or webhooks.
    stack.until_accepted(10).await;
    stack.telnyx().hold(true);
    proxy.hold_answers(true);
    let silent_from = stack.telnyx().entries().len();
    stack.until_accepted((silent_from + 5).min(phones.len())).await;
    stack.stack.kill("message-api").await.unwrap();
    proxy.cut();
    proxy.hold_answers(false);
    stack.stack.start_process("message-api").unwrap();
    stack.stack.ready("message-api").await.unwrap();

    // Whatever waited to be sent again would go before what is sent now.
    let last = stack.send(CHURCH, AUTHOR, &[DELIVERED]).await;
    eventually("the last message is sent", async || {
        stack.telnyx().entries().iter().any(|entry| entry.to == DELIVERED).then_some(())
    })
    .await;
    stack.telnyx().hold(false);
    stack.until_status(CHURCH, last, "delivered").await;

    let (shown, entries) = eventually("all that Telnyx took has its receipt", async || {
        let shown = stack.message(CHURCH, message).await;
        let mut entries = stack.telnyx().entries();
        entries.retain(|entry| entry.to != DELIVERED);
        let is_finished = shown["status"] != "pending" && shown["deliveredCount"] == entries.len();
        is_finished.then_some((shown, entries))
    })
    .await;
    let asked: BTreeSet<_> = entries.iter().map(|entry| &entry.to).collect();
    assert_eq!(asked.len(), entries.len(), "no phone is asked twice");
    assert_eq!(shown["failedCount"], json!(phones.len() - entries.len()));
    for recipient in shown["recipients"].as_array().unwrap() {
        if recipient["status"] == "failed" {
            assert_eq!(recipient["failureCode"], "unresolved", "{recipient}");
            assert!(recipient["failureReason"].as_str().unwrap().contains("may have arrived"), "{recipient}");
        }
    }
}
