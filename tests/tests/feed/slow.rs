//! A client that reads slowly catches up for long, and the library's heartbeat goes on meanwhile.

use tests::gateway::TestGateway;
use tests::proxy::Proxy;

use super::{CHURCH, has_seen, join_at};

/// The smallest queue, often looked at. Nobody has to answer within a test.
const SMALL_AND_OFTEN: [(&str, &str); 3] =
    [("GATEWAY_SOCKET_BUFFER", "64"), ("GATEWAY_PING_INTERVAL", "200"), ("GATEWAY_PING_TIMEOUT", "600000")];
/// Events that take the client far longer than many heartbeats.
const MANY: usize = 1_000;
/// Bytes a second that it gets.
const SLOW: usize = 200_000;

#[tokio::test(flavor = "multi_thread")]
async fn a_long_catch_up_leaves_room_for_the_heartbeat() {
    let gateway = TestGateway::start(&SMALL_AND_OFTEN).await;
    let slow = Proxy::to(&gateway.url()).await;
    let mut client = join_at(&gateway, &slow.url(), "slow").await;
    slow.trickle(Some(SLOW));
    let events = gateway.announcer().await.announce(CHURCH, MANY, "").await;
    client.until_event(events[MANY - 1]).await;
    assert_eq!(client.whole_events(), events);
    assert!(!has_seen(&client, "disconnect"));
    assert!(gateway.count("church_gateway_slow_consumers_total").await > 0.0, "its queue was full");
}
