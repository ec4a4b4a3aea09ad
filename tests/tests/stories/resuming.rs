//! A client resumes with its cursor and misses nothing, or gets `recovered: false`.

use deploy::stack::StackOptions;
use futures_util::future::join_all;
use serde_json::json;
use tests::client::Client;
use tests::databases::Kind;
use tests::proxy::Proxy;
use tests::report::Report;
use tests::stack::TestStack;
use uuid::Uuid;

use super::{AUTHOR, CHURCH, DELIVERED, SILENT};

pub(super) fn quick(options: &mut StackOptions) {
    options.environment.push(("message-api".into(), "SEND_RATE".into(), "1000".into()));
}

/// Sends this many messages at once and waits until they are delivered and announced. Returns the church's events.
pub(super) async fn burst(stack: &TestStack, count: usize) -> Vec<Uuid> {
    let messages = join_all((0..count).map(|_| stack.send(CHURCH, AUTHOR, &[DELIVERED]))).await;
    for message in messages {
        stack.until_status(CHURCH, message, "delivered").await;
    }
    announced(stack).await
}

async fn announced(stack: &TestStack) -> Vec<Uuid> {
    stack.until_announced().await;
    stack.stored(CHURCH).await.iter().map(|event| event.id).collect()
}

/// Fails unless the client receives every event once, in order.
pub(super) async fn assert_has_all(client: &mut Client, events: &[Uuid]) {
    client.until_event(events[events.len() - 1]).await;
    assert_eq!(client.whole_events(), events);
}

/// The `recovered` of each connection after the first.
pub(super) fn recovered(client: &Client) -> Vec<bool> {
    client.recovered().split_off(1)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_cut_off_during_a_burst_gets_every_event_once_and_in_order() {
    let stack = TestStack::start_with(Kind::Sqlite, quick).await;
    let proxy = Proxy::to(&stack.stack.file().gateways[0]).await;
    let mut client = stack.client_at(&proxy.url(), CHURCH, AUTHOR).await;
    let cutting = async {
        for events in [5, 20, 60] {
            while client.whole_events().len() < events {
                client.next().await;
            }
            proxy.cut();
            client.until("connected").await;
        }
        client
    };
    let (events, mut client) = tokio::join!(burst(&stack, 60), cutting);
    assert_has_all(&mut client, &events).await;
    assert_eq!(recovered(&client), [true, true, true]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_whose_gateway_is_killed_resumes_on_another_one() {
    let mut stack = TestStack::start_with(Kind::Sqlite, |options| {
        options.gateways = 2;
        quick(options);
    })
    .await;
    let gateways = stack.stack.file().gateways.clone();
    let proxy = Proxy::to(&gateways[0]).await;
    let mut client = stack.client_at(&proxy.url(), CHURCH, AUTHOR).await;
    burst(&stack, 10).await;
    stack.stack.kill("realtime-gateway-1").await.unwrap();
    proxy.lead_to(&gateways[1]);
    let events = burst(&stack, 10).await;
    assert_has_all(&mut client, &events).await;
    assert_eq!(recovered(&client), [true]);

    // And back to the first gateway, which was restarted and has an empty memory.
    stack.stack.start_process("realtime-gateway-1").unwrap();
    stack.stack.ready("realtime-gateway-1").await.unwrap();
    proxy.lead_to(&gateways[0]);
    let events = burst(&stack, 10).await;
    assert_has_all(&mut client, &events).await;
    assert_eq!(recovered(&client), [true, true]);
}

#[tokio::test(flavor = "multi_thread")]
async fn killing_the_broker_during_a_burst_loses_no_event() {
    let mut stack = TestStack::start_with(Kind::Sqlite, quick).await;
    let mut client = stack.client(CHURCH, AUTHOR).await;
    let messages = join_all((0..40).map(|_| stack.send(CHURCH, AUTHOR, &[DELIVERED]))).await;
    while client.whole_events().len() < 10 {
        client.next().await;
    }
    stack.stack.kill(deploy::nats::NAME).await.unwrap();
    for message in messages {
        stack.until_status(CHURCH, message, "delivered").await;
    }
    stack.stack.start_broker().await.unwrap();
    let events = announced(&stack).await;
    assert_has_all(&mut client, &events).await;
    assert!(recovered(&client).is_empty(), "the gateway kept its sockets");
    let late = stack.client(CHURCH, "deacon").await;
    assert_eq!(late.seen().iter().filter(|seen| seen.event == "connected").count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn losing_the_brokers_storage_gives_recovered_false_and_the_feed_goes_on() {
    let mut stack = TestStack::start_with(Kind::Sqlite, quick).await;
    let proxy = Proxy::to(&stack.stack.file().gateways[0]).await;
    let mut connected = stack.client(CHURCH, AUTHOR).await;
    let mut away = stack.client_at(&proxy.url(), CHURCH, "deacon").await;
    let events = burst(&stack, 5).await;
    for client in [&mut connected, &mut away] {
        client.until_event(events[events.len() - 1]).await;
    }
    proxy.lead_to("http://127.0.0.1:1");
    away.until("disconnect").await;
    stack.wipe_broker().await;
    assert_eq!(connected.until("connected").await.data["recovered"], false);
    proxy.lead_to(&stack.stack.file().gateways[0]);
    assert_eq!(away.until("connected").await.data["recovered"], false);

    let before = (connected.whole_events().len(), away.whole_events().len());
    let events = burst(&stack, 5).await;
    for (client, seen) in [(&mut connected, before.0), (&mut away, before.1)] {
        client.until_event(events[events.len() - 1]).await;
        // The events since then are the end of the new stream, without a gap.
        assert!(events.ends_with(&client.whole_events()[seen..]));
        assert!(client.whole_events().len() > seen);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_away_longer_than_the_memory_catches_up_from_the_stream() {
    let stack = TestStack::start_with(Kind::Sqlite, |options| {
        quick(options);
        options.environment.push(("realtime-gateway".into(), "GATEWAY_MEMORY_EVENTS".into(), "10".into()));
    })
    .await;
    let proxy = Proxy::to(&stack.stack.file().gateways[0]).await;
    let mut client = stack.client_at(&proxy.url(), CHURCH, AUTHOR).await;
    burst(&stack, 2).await;
    proxy.lead_to("http://127.0.0.1:1");
    client.until("disconnect").await;
    burst(&stack, 60).await;
    proxy.lead_to(&stack.stack.file().gateways[0]);
    client.until("connected").await;
    let events = burst(&stack, 5).await;
    assert_has_all(&mut client, &events).await;
    assert_eq!(recovered(&client), [true]);
    let ops = &stack.stack.file().ops.gateways[0];
    assert_eq!(stack.metric(ops, r#"church_gateway_resumes_total{outcome="stream"}"#).await, 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn resuming_in_a_quiet_church_reads_nothing_from_the_stream() {
    let stack = TestStack::start_with(Kind::Sqlite, |options| {
        quick(options);
        options.environment.push(("realtime-gateway".into(), "GATEWAY_MEMORY_EVENTS".into(), "10".into()));
    })
    .await;
    let proxy = Proxy::to(&stack.stack.file().gateways[0]).await;
    // One client has a cursor of an event, the other only the cursor of its first connection.
    let message = stack.send("quiet", AUTHOR, &[SILENT]).await;
    let mut quiet = stack.client_at(&proxy.url(), "quiet", AUTHOR).await;
    let mut silent = stack.client_at(&proxy.url(), "silent", AUTHOR).await;
    let report = Report::of(&stack.until_accepted(1).await[0], "delivered");
    assert_eq!(stack.report(&report).await.status(), 200);
    quiet.until_one(|seen| seen.data["messageId"] == json!(message) && seen.data["cursor"].is_string()).await;
    burst(&stack, 30).await;
    proxy.cut();
    for client in [&mut quiet, &mut silent] {
        assert_eq!(client.until("connected").await.data["recovered"], true);
    }
    let ops = &stack.stack.file().ops.gateways[0];
    assert_eq!(stack.metric(ops, r#"church_gateway_resumes_total{outcome="memory"}"#).await, 2.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_stock_client_with_a_wrong_cursor_gets_recovered_false() {
    let stack = TestStack::start(Kind::Sqlite).await;
    let mut client = stack.client(CHURCH, AUTHOR).await;
    let events = burst(&stack, 3).await;
    client.until_event(events[0]).await;
    let cursor = client.cursor().unwrap();
    let gateway = &stack.stack.file().gateways[0];
    for (church, cursor) in [("hope", cursor.as_str()), (CHURCH, "undefined"), (CHURCH, "AAAA")] {
        let token = stack.token(church, AUTHOR);
        let mut client = Client::start(gateway, &token, &["--cursor", cursor]).await;
        let connected = client.until("connected").await.data;
        assert_eq!(connected["recovered"], false, "{church} {cursor}");
        assert!(client.packets().next().is_none(), "{church} {cursor}");
    }
    let token = stack.token(CHURCH, AUTHOR);
    let mut client = Client::start(gateway, &token, &["--cursor", &cursor]).await;
    assert_eq!(client.until("connected").await.data["recovered"], true);
    client.until_event(events[events.len() - 1]).await;
    assert_eq!(client.whole_events(), events[1..]);
}
