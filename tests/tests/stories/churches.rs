//! A church sees all its own data and no other church's.

use serde_json::json;
use tests::databases::Kind;
use tests::on_both_databases;
use tests::stack::TestStack;

use super::{AUTHOR, CHURCH, DELIVERED};

on_both_databases!(a_church_sees_all_its_events_and_none_of_another_church);

/// A second church with the same user id, whose own id begins like the first one's.
const OTHER: &str = "grace-2";

async fn a_church_sees_all_its_events_and_none_of_another_church(kind: Kind) {
    let stack = TestStack::start(kind).await;
    let mut one = stack.client(CHURCH, AUTHOR).await;
    let mut two = stack.client(CHURCH, "deacon").await;
    let mut other = stack.client(OTHER, AUTHOR).await;
    let mut messages = Vec::new();
    for _ in 0..3 {
        messages.push(stack.send(CHURCH, "deacon", &[DELIVERED]).await);
    }
    for message in &messages {
        stack.until_status(CHURCH, *message, "delivered").await;
    }
    // The other church's own event comes last, so it would have received any earlier event by then.
    let own = stack.send(OTHER, AUTHOR, &[DELIVERED]).await;
    stack.until_status(OTHER, own, "delivered").await;
    stack.until_announced().await;
    let events = stack.stored(CHURCH).await;
    let events: Vec<_> = events.iter().map(|event| event.id).collect();
    one.until_event(events[events.len() - 1]).await;
    two.until_event(events[events.len() - 1]).await;
    other.until("message:delivered").await;

    assert_eq!(one.whole_events(), events);
    assert_eq!(two.whole_events(), events);
    assert!(one.packets().all(|seen| seen.event != "notification"), "only the author is notified");
    assert_eq!(two.packets().filter(|seen| seen.event == "notification").count(), messages.len());
    assert!(other.packets().all(|seen| seen.data["messageId"] == json!(own)));
    // The other author has the same user id, in another church.
    assert_eq!(other.packets().filter(|seen| seen.event == "notification").count(), 1);

    for message in messages {
        let (status, body) = stack.get(OTHER, AUTHOR, &format!("/api/messages/{message}")).await;
        assert_eq!((status, &body["code"]), (404, &json!("message_not_found")));
    }
    let (_, history) = stack.get(OTHER, AUTHOR, "/api/messages/history?limit=100").await;
    assert_eq!(history["data"].as_array().unwrap().len(), 1, "{history}");
    assert_eq!(history["data"][0]["id"], json!(own));
    let (_, history) = stack.get(CHURCH, AUTHOR, "/api/messages/history?limit=100").await;
    assert_eq!(history["pagination"]["total"], 3, "{history}");
}
