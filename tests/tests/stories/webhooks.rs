//! Webhooks that are repeated, reordered, or faster than the answer to the send.

use std::collections::{BTreeSet, HashMap};

use common::status::MessageStatus;
use deploy::simulator::{Entry, Rule};
use futures_util::future::join_all;
use serde_json::{Value, json};
use tests::client::Client;
use tests::databases::Kind;
use tests::proxy::Proxy;
use tests::report::Report;
use tests::stack::TestStack;
use tests::{eventually, on_both_databases};

use super::{AUTHOR, CHURCH, DELIVERED, READ, SILENT, borrowed, silent_phones};

on_both_databases!(
    webhooks_in_any_order_and_repeated_give_the_same_message,
    the_recipients_of_one_message_end_equal_and_never_go_backwards,
    repeated_and_reordered_webhooks_are_recorded_once,
    a_webhook_that_overtakes_telnyxs_answer_finds_its_recipient,
);

/// All orders of the four webhooks.
fn orders() -> Vec<Vec<&'static str>> {
    fn extend(begun: Vec<&'static str>, all: &mut Vec<Vec<&'static str>>) {
        let left: Vec<_> = ["sent", "delivered", "delivery_failed", "read"]
            .into_iter()
            .filter(|status| !begun.contains(status))
            .collect();
        if left.is_empty() {
            all.push(begun.clone());
        }
        for status in left {
            extend([begun.clone(), vec![status]].concat(), all);
        }
    }
    let mut all = Vec::new();
    extend(Vec::new(), &mut all);
    all
}

/// Reports each entry in an order of its own: each webhook twice at once, then all of them again in reverse.
async fn report_in_all_orders(stack: &TestStack, entries: &[Entry]) {
    let orders = orders();
    assert_eq!(entries.len(), orders.len());
    let reporting = entries.iter().zip(orders).map(async |(entry, order)| {
        let reports: Vec<_> = order.into_iter().map(|status| Report::of(entry, status)).collect();
        for report in &reports {
            let twice = join_all([stack.report(report), stack.report(report)]).await;
            assert!(twice.iter().all(|answer| answer.status() == 200));
        }
        for report in reports.iter().rev() {
            assert_eq!(stack.report(report).await.status(), 200);
        }
    });
    join_all(reporting).await;
}

fn status_of(status: &Value) -> MessageStatus {
    MessageStatus::parse(status.as_str().unwrap()).unwrap()
}

/// Fails if the client received a lower status or version after a higher one.
fn assert_nothing_went_backwards(client: &Client) {
    let (mut messages, mut recipients) = (HashMap::new(), HashMap::new());
    for packet in client.packets().filter(|seen| seen.event != "notification") {
        let data = &packet.data;
        let now = (status_of(&data["status"]), data["version"].as_i64().unwrap());
        let before = messages.insert(data["messageId"].clone(), now);
        assert!(
            before.is_none_or(|before| before.0 <= now.0 && before.1 <= now.1),
            "{before:?}, then {data}"
        );
        for changed in data["changed"].as_array().into_iter().flatten() {
            let now = status_of(&changed["status"]);
            let before = recipients.insert(changed["recipientId"].clone(), now);
            assert!(before.is_none_or(|before| before <= now), "{before:?}, then {changed}");
        }
    }
}

/// The fields that must not depend on the order.
fn end_of(message: &Value) -> Vec<Value> {
    let fields =
        ["status", "deliveredCount", "failedCount", "unconfirmedCount", "readCount", "failureReason"];
    let mut end: Vec<_> = fields.map(|field| message[field].clone()).into();
    for recipient in message["recipients"].as_array().unwrap() {
        end.extend(["status", "failureReason", "failureCode"].map(|field| recipient[field].clone()));
    }
    end
}

async fn webhooks_in_any_order_and_repeated_give_the_same_message(kind: Kind) {
    let stack = TestStack::start(kind).await;
    let mut client = stack.client(CHURCH, AUTHOR).await;
    let count = orders().len();
    let messages = join_all((0..count).map(|_| stack.send(CHURCH, AUTHOR, &[SILENT]))).await;
    let entries = stack.until_accepted(count).await;
    report_in_all_orders(&stack, &entries).await;

    let mut ends = BTreeSet::new();
    for message in messages {
        let message = stack.message(CHURCH, message).await;
        ends.insert(json!(end_of(&message)).to_string());
    }
    assert_eq!(ends.len(), 1, "{ends:#?}");
    assert!(ends.iter().all(|end| end.starts_with(r#"["read",1,0,0,1"#)), "{ends:?}");

    stack.until_announced().await;
    let events = stack.stored(CHURCH).await;
    client.until_event(events[events.len() - 1].id).await;
    assert_nothing_went_backwards(&client);
    let audit = stack.audit().await;
    assert!(audit.is_sound(), "{audit:?}");
    // Four webhooks per message, each three times.
    assert_eq!((audit.accepted, audit.duplicate), (count as i64 * 12, count as i64 * 8), "{audit:?}");
}

async fn the_recipients_of_one_message_end_equal_and_never_go_backwards(kind: Kind) {
    let stack = TestStack::start(kind).await;
    let mut client = stack.client(CHURCH, AUTHOR).await;
    let count = orders().len();
    let message = stack.send(CHURCH, AUTHOR, &borrowed(&silent_phones(count))).await;
    let entries = stack.until_accepted(count).await;
    report_in_all_orders(&stack, &entries).await;

    let shown = stack.message(CHURCH, message).await;
    assert_eq!((&shown["status"], &shown["readCount"]), (&json!("read"), &json!(count)));
    assert_eq!((&shown["deliveredCount"], &shown["failedCount"]), (&json!(count), &json!(0)));
    let recipients = shown["recipients"].as_array().unwrap().iter();
    let end = |recipient: &Value| {
        ["status", "failureReason", "failureCode"].map(|field| recipient[field].to_string())
    };
    let ends: BTreeSet<_> = recipients.map(end).collect();
    assert_eq!(ends.len(), 1, "{ends:?}");

    stack.until_announced().await;
    let events = stack.stored(CHURCH).await;
    client.until_event(events[events.len() - 1].id).await;
    assert_nothing_went_backwards(&client);
    assert_eq!(client.packets().last().unwrap().data["version"], shown["version"]);
    assert!(stack.audit().await.is_sound());
}

async fn repeated_and_reordered_webhooks_are_recorded_once(kind: Kind) {
    let stack = TestStack::start(kind).await;
    stack.telnyx().add_rule(Rule { copies: 3, reorder: true, ..Rule::default() });
    let mut client = stack.client(CHURCH, AUTHOR).await;
    let delivered = stack.send(CHURCH, AUTHOR, &[DELIVERED]).await;
    let read = stack.send(CHURCH, AUTHOR, &[READ]).await;
    // Two webhooks and three webhooks, each three times.
    let attempts = eventually("Telnyx has called back", async || {
        let attempts: Vec<_> =
            stack.telnyx().entries().into_iter().flat_map(|entry| entry.webhooks).collect();
        (attempts.len() >= 15).then_some(attempts)
    })
    .await;
    assert!(attempts.iter().all(|attempt| attempt.answer == Some(200)), "{attempts:#?}");
    assert_eq!(stack.message(CHURCH, delivered).await["status"], "delivered");
    assert_eq!(stack.message(CHURCH, read).await["status"], "read");
    let audit = stack.audit().await;
    assert!(audit.is_sound(), "{audit:?}");
    assert_eq!((audit.accepted, audit.duplicate), (15, 10), "{audit:?}");

    stack.until_announced().await;
    let events = stack.stored(CHURCH).await;
    client.until_event(events[events.len() - 1].id).await;
    assert_nothing_went_backwards(&client);
}

async fn a_webhook_that_overtakes_telnyxs_answer_finds_its_recipient(kind: Kind) {
    let proxy = Proxy::to("http://127.0.0.1:1").await;
    let mut stack = TestStack::start_with(kind, |options| {
        options.environment.push(("message-api".into(), "TELNYX_BASE_URL".into(), proxy.url()));
    })
    .await;
    proxy.lead_to(&stack.stack.file().telnyx);
    proxy.hold_answers(true);
    let message = stack.send(CHURCH, AUTHOR, &[DELIVERED]).await;
    let before = stack.until_status(CHURCH, message, "delivered").await;
    let ops = stack.stack.file().ops.api.clone();
    let accepted = r#"church_api_sends_total{outcome="accepted"}"#;
    assert_eq!(stack.metric(&ops, accepted).await, 0.0, "the answer is still held back");

    proxy.hold_answers(false);
    eventually("the answer has come", async || (stack.metric(&ops, accepted).await == 1.0).then_some(()))
        .await;
    // A service that stops in order records the answers that it got.
    stack.stack.terminate("message-api").await.unwrap();
    stack.stack.start_process("message-api").unwrap();
    stack.stack.ready("message-api").await.unwrap();
    let after = stack.message(CHURCH, message).await;
    assert_eq!(end_of(&after), end_of(&before));
    assert_eq!(after["version"], 2);
    assert_eq!(stack.telnyx().totals(), (1, 1));
}
