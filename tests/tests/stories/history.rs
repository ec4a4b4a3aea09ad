//! A client that was away for thousands of events gets them all.

use tests::client::Client;
use tests::databases::Kind;
use tests::stack::TestStack;

use super::{AUTHOR, CHURCH};

/// More than a gateway remembers of one church.
const MISSED: usize = 3_500;

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_missed_events_reach_a_client_whole_while_new_ones_arrive() {
    let stack = TestStack::start_with(Kind::Sqlite, |options| {
        options.gateways = 2;
        let small = ("realtime-gateway-2", "GATEWAY_MEMORY_CHURCH_EVENTS", "50");
        options.environment.push((small.0.into(), small.1.into(), small.2.into()));
    })
    .await;
    let announcer = stack.announcer().await;
    // Other churches' events lie between.
    announcer.announce("hope", 1, "").await;
    let first = stack.client(CHURCH, AUTHOR).await;
    let cursor = first.cursor().unwrap();
    let mut events = Vec::new();
    for _ in 0..MISSED / 100 {
        events.extend(announcer.announce(CHURCH, 100, "").await);
        announcer.announce("hope", 10, "").await;
    }

    let token = stack.token(CHURCH, AUTHOR);
    let gateways = &stack.stack.file().gateways;
    let mut remembers_some = Client::start(&gateways[0], &token, &["--cursor", &cursor]).await;
    let mut remembers_few = Client::start(&gateways[1], &token, &["--cursor", &cursor]).await;
    for client in [&mut remembers_some, &mut remembers_few] {
        client.until("connected").await;
        for _ in 0..10 {
            events.extend(announcer.announce(CHURCH, 10, "").await);
            client.until("message:delivered").await;
        }
    }
    for client in [&mut remembers_some, &mut remembers_few] {
        client.until_event(events[events.len() - 1]).await;
        assert_eq!(client.whole_events(), events);
        assert_eq!(client.recovered(), [true]);
        assert!(client.packets().all(|seen| seen.data["churchId"] == CHURCH));
    }
    for ops in &stack.stack.file().ops.gateways {
        assert_eq!(stack.metric(ops, r#"church_gateway_resumes_total{outcome="stream"}"#).await, 1.0);
    }
}
