//! The whole way of a message, from the front end's request to every browser of the church.

use common::event::{ChurchEvent, EventType};
use common::status::MessageStatus;
use serde_json::{Value, json};
use tests::client::{Client, packets_of};
use tests::databases::Kind;
use tests::report::Report;
use tests::stack::TestStack;
use tests::{eventually, on_both_databases};
use uuid::Uuid;

use super::{AUTHOR, BLOCKED, CHURCH, DELIVERED, SILENT};

on_both_databases!(
    a_message_reaches_telnyx_and_its_receipt_reaches_every_browser,
    a_browser_gets_failed_and_read_events_by_their_names,
);

/// Waits until all events are announced and received. Returns the church's events.
async fn all_seen(stack: &TestStack, clients: &mut [&mut Client]) -> Vec<ChurchEvent> {
    stack.until_announced().await;
    let events = stack.stored(CHURCH).await;
    for client in clients {
        client.until_event(events[events.len() - 1].id).await;
    }
    events
}

/// Fails unless the client received exactly these events, whole and in order, with the cursor on the last packet only.
fn assert_saw(client: &Client, events: &[ChurchEvent]) {
    let told = client.packets().filter(|seen| seen.event != "notification");
    let seen: Vec<_> = told
        .map(|seen| {
            assert_eq!(seen.data["type"], seen.event);
            (seen.event.as_str(), id(&seen.data["eventId"]), seen.data["cursor"].is_string())
        })
        .collect();
    let expected: Vec<_> = events
        .iter()
        .flat_map(|event| packets_of(event).into_iter().map(|(name, last)| (name, event.id, last)))
        .collect();
    assert_eq!(seen, expected);
}

fn id(value: &Value) -> Uuid {
    value.as_str().unwrap().parse().unwrap()
}

fn names(client: &Client) -> Vec<&str> {
    client.packets().map(|seen| seen.event.as_str()).collect()
}

async fn a_message_reaches_telnyx_and_its_receipt_reaches_every_browser(kind: Kind) {
    let stack = TestStack::start(kind).await;
    let mut author = stack.client(CHURCH, AUTHOR).await;
    let mut colleague = stack.client(CHURCH, "deacon").await;
    let message = stack.send(CHURCH, AUTHOR, &[DELIVERED]).await;
    stack.until_status(CHURCH, message, "delivered").await;
    let events = all_seen(&stack, &mut [&mut author, &mut colleague]).await;

    // The stream has the event of the recorded message, then the delivery.
    let kinds: Vec<_> = events.iter().map(|event| (event.subject(), event.kind, event.version)).collect();
    let (sent, status) = ("church.grace.sent".to_owned(), "church.grace.status".to_owned());
    assert_eq!(kinds, [(sent, EventType::Sent, 1), (status, EventType::Delivered, 2)]);
    assert!(events.iter().all(|event| event.message_id == message));

    // Telnyx got one request with a webhook URL.
    let entries = stack.telnyx().entries();
    assert_eq!(entries.len(), 1);
    assert_eq!(
        (entries[0].to.as_str(), entries[0].request["text"].as_str()),
        (DELIVERED, Some("Service at ten"))
    );
    let answers: Vec<_> = entries[0].webhooks.iter().map(|webhook| webhook.answer).collect();
    assert_eq!(answers, [Some(200), Some(200)]);

    // Both browsers received the same, and only the author a notification.
    assert_saw(&author, &events);
    assert_saw(&colleague, &events);
    let told = ["message:sent", "message:status_update", "message:delivered"];
    assert_eq!(names(&colleague), told);
    assert_eq!(names(&author), [told[0], "notification", told[1], told[2]]);
    let finished = author.packets().find(|seen| seen.event == "notification").unwrap();
    assert_eq!(finished.data["messageId"], json!(message));
    assert_eq!((&finished.data["status"], &finished.data["cursor"]), (&json!("delivered"), &Value::Null));

    // The events agree with the REST API.
    let shown = stack.message(CHURCH, message).await;
    assert_payload(&author, &shown, entries[0].recipient_id().unwrap());
}

/// Compares the last packet of the delivered message with message-api's answer.
fn assert_payload(client: &Client, shown: &Value, recipient: Uuid) {
    let delivered = &client.packets().last().unwrap().data;
    for (of_event, of_message) in [
        ("messageId", "id"),
        ("status", "status"),
        ("version", "version"),
        ("recipientCount", "totalRecipients"),
        ("deliveredCount", "deliveredCount"),
        ("failedCount", "failedCount"),
        ("unconfirmedCount", "unconfirmedCount"),
        ("readCount", "readCount"),
    ] {
        assert_eq!(delivered[of_event], shown[of_message], "{of_event}");
    }
    assert_eq!((&delivered["churchId"], &delivered["userId"]), (&json!(CHURCH), &json!(AUTHOR)));
    assert_eq!(delivered["changed"], json!([{"recipientId": recipient, "status": "delivered"}]));
    assert_eq!(shown["recipients"][0]["id"], json!(recipient));
    assert_eq!((&shown["status"], &shown["deliveredCount"]), (&json!("delivered"), &json!(1)));
    for absent in ["v", "id", "replay"] {
        assert_eq!(delivered[absent], Value::Null, "{absent}");
    }
}

async fn a_browser_gets_failed_and_read_events_by_their_names(kind: Kind) {
    let stack = TestStack::start(kind).await;
    let mut author = stack.client(CHURCH, AUTHOR).await;
    let failed = stack.send(CHURCH, AUTHOR, &[BLOCKED]).await;
    stack.until_status(CHURCH, failed, "failed").await;
    let read = stack.send(CHURCH, AUTHOR, &[SILENT]).await;
    let taken = async || stack.telnyx().entries().into_iter().find(|entry| entry.to == SILENT);
    let entry = eventually("Telnyx accepted it", taken).await;
    // One after the other, because reports in one batch make one event.
    for status in ["delivered", "read"] {
        assert_eq!(stack.report(&Report::of(&entry, status)).await.status(), 200);
        stack.until_status(CHURCH, read, status).await;
    }
    let events = all_seen(&stack, &mut [&mut author]).await;
    assert_saw(&author, &events);
    let statuses = |message| {
        let of_message = events.iter().filter(move |event| event.message_id == message);
        of_message.map(|event| (event.kind, event.status)).collect::<Vec<_>>()
    };
    let accepted = (EventType::Sent, MessageStatus::Pending);
    assert_eq!(statuses(failed), [accepted, (EventType::Failed, MessageStatus::Failed)]);
    let reading = (EventType::Read, MessageStatus::Read);
    assert_eq!(statuses(read), [accepted, (EventType::Delivered, MessageStatus::Delivered), reading]);
    // Each message has one notification.
    let finished = author.packets().filter(|seen| seen.event == "notification");
    let finished: Vec<_> = finished.map(|seen| (id(&seen.data["messageId"]), &seen.data["status"])).collect();
    assert_eq!(finished, [(failed, &json!("failed")), (read, &json!("delivered"))]);
}
