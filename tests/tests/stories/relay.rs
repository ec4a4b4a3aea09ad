//! The relaying process is killed or suspended, and another one takes over.

use tests::databases::Kind;
use tests::stack::TestStack;
use tests::{eventually, on_both_databases};
use tokio::process::Command;
use uuid::Uuid;

use super::{AUTHOR, CHURCH, DELIVERED};

on_both_databases!(
    a_killed_relay_is_replaced_and_nothing_is_lost,
    a_suspended_relay_is_replaced_and_harmless_when_it_wakes,
);

const HOLDER: &str = "webhook-ingest";
const STANDBY: &str = "message-api";

/// A stack in which webhook-ingest relays and message-api stands by.
async fn stack(kind: Kind) -> TestStack {
    let mut stack = TestStack::start(kind).await;
    stack.stack.terminate(STANDBY).await.unwrap();
    eventually("webhook-ingest relays", async || {
        let log = std::fs::read_to_string(stack.stack.log(HOLDER)).unwrap_or_default();
        log.contains("this process relays the outbox").then_some(())
    })
    .await;
    stack.stack.start_process(STANDBY).unwrap();
    stack.stack.ready(STANDBY).await.unwrap();
    stack
}

async fn send(stack: &TestStack, count: usize) -> Vec<Uuid> {
    let mut messages = Vec::new();
    for _ in 0..count {
        messages.push(stack.send(CHURCH, AUTHOR, &[DELIVERED]).await);
    }
    messages
}

async fn delivered(stack: &TestStack, count: usize) -> Vec<Uuid> {
    let messages = send(stack, count).await;
    for message in &messages {
        stack.until_status(CHURCH, *message, "delivered").await;
    }
    // Wait until nothing writes: a process suspended in the middle of a SQLite write would block all others.
    stack.until_announced().await;
    messages
}

async fn signal(stack: &TestStack, process: &str, signal: &str) {
    let id = stack.stack.file().processes[process].to_string();
    let sent = Command::new("kill").args([signal, &id]).status().await.unwrap();
    assert!(sent.success());
}

/// Fails unless every message is delivered and the client got each event of the stream once, in order.
async fn assert_whole(stack: &TestStack, messages: &[Uuid], client: &mut tests::client::Client) {
    for message in messages {
        stack.until_status(CHURCH, *message, "delivered").await;
    }
    stack.until_announced().await;
    let events: Vec<_> = stack.stored(CHURCH).await.iter().map(|event| event.id).collect();
    client.until_event(events[events.len() - 1]).await;
    assert_eq!(client.whole_events(), events);
    let audit = stack.audit().await;
    assert!(audit.is_sound(), "{audit:?}");
}

async fn a_killed_relay_is_replaced_and_nothing_is_lost(kind: Kind) {
    let mut stack = stack(kind).await;
    let mut client = stack.client(CHURCH, AUTHOR).await;
    let mut messages = delivered(&stack, 5).await;
    stack.telnyx().hold(true);
    stack.stack.kill(HOLDER).await.unwrap();
    messages.extend(send(&stack, 5).await);
    stack.until_announced().await;
    stack.stack.start_process(HOLDER).unwrap();
    stack.stack.ready(HOLDER).await.unwrap();
    stack.telnyx().hold(false);
    assert_whole(&stack, &messages, &mut client).await;
}

async fn a_suspended_relay_is_replaced_and_harmless_when_it_wakes(kind: Kind) {
    let stack = stack(kind).await;
    let mut client = stack.client(CHURCH, AUTHOR).await;
    let mut messages = delivered(&stack, 5).await;
    stack.telnyx().hold(true);
    signal(&stack, HOLDER, "-STOP").await;
    messages.extend(send(&stack, 5).await);
    stack.until_announced().await;
    signal(&stack, HOLDER, "-CONT").await;
    stack.telnyx().hold(false);
    messages.extend(send(&stack, 5).await);
    assert_whole(&stack, &messages, &mut client).await;
}
