//! Operators replay more events than clients can take: no client is closed, and live events go first.

use async_nats::jetstream::{self, consumer};
use common::subject::{REPLAY, STREAM};
use tests::client::Client;
use tests::eventually;
use tests::gateway::TestGateway;
use tests::proxy::Proxy;

use super::{CHURCH, has_seen, join, join_at};

/// Number of events in the stream.
const MANY: usize = 2_000;
/// Bytes that pad each event.
const WEIGHT: usize = 1_000;
/// Bytes per second that the slow client receives: only a part of the replay.
const SLOW: usize = 100_000;

/// Replays the whole stream at this many bytes per second; 0 means as fast as possible.
async fn replay(gateway: &mut TestGateway, bytes_a_second: u64) {
    let jetstream = jetstream::new(gateway.broker().client("ops").await);
    let stream = jetstream.get_stream(STREAM).await.unwrap();
    let config = consumer::push::Config {
        name: Some("replay".into()),
        deliver_subject: REPLAY.into(),
        ack_policy: consumer::AckPolicy::None,
        memory_storage: true,
        rate_limit: 8 * bytes_a_second,
        ..Default::default()
    };
    stream.create_consumer(config).await.unwrap();
}

/// The counter of replayed events with this outcome.
fn of(reason: &str) -> String {
    format!("church_gateway_replays_total{{outcome=\"{reason}\"}}")
}

fn replayed(client: &Client) -> usize {
    client.packets().filter(|seen| seen.data["replay"] == true).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_replay_closes_no_client_and_live_events_go_first() {
    let mut gateway = TestGateway::start(&[]).await;
    let announcer = gateway.announcer().await;
    announcer.announce(CHURCH, MANY, &"x".repeat(WEIGHT)).await;
    gateway.until_count("church_gateway_events_total", MANY as f64).await;
    let slow = Proxy::to(&gateway.url()).await;
    let mut clients = [join(&gateway, "reads").await, join_at(&gateway, &slow.url(), "slow").await];
    slow.trickle(Some(SLOW));

    replay(&mut gateway, 0).await;
    clients[0].until_one(|seen| seen.data["replay"] == true).await;
    let live = announcer.announce(CHURCH, 2, "").await;
    for client in &mut clients {
        client.until_event(live[1]).await;
        assert_eq!(client.whole_events(), live);
    }
    // Each replayed event has two packets.
    assert!(replayed(&clients[0]) < 2 * MANY, "the live events went first");

    // The consumer continues with the events stored meanwhile.
    eventually("the whole replay was emitted", async || {
        (gateway.count(&of("accepted")).await >= MANY as f64).then_some(())
    })
    .await;
    let last = announcer.announce(CHURCH, 1, "").await[0];
    for client in &mut clients {
        client.until_event(last).await;
        assert!(!has_seen(client, "disconnect"));
        assert_eq!(client.recovered(), [false]);
    }
    assert!(
        gateway.count("church_gateway_replays_skipped_total").await > 0.0,
        "the slow one did not get all"
    );
    let [reads, slow] = clients.each_ref().map(replayed);
    assert!(reads >= MANY && slow < reads, "{reads} {slow}");
}

#[tokio::test(flavor = "multi_thread")]
async fn replayed_events_beyond_the_queue_limit_are_dropped_and_counted() {
    let mut gateway = TestGateway::start(&[]).await;
    // More than the queue holds and than is sent meanwhile.
    let (heavy, many) = ("x".repeat(20_000), 1_500);
    gateway.announcer().await.announce(CHURCH, many, &heavy).await;
    let mut client = join(&gateway, "reads").await;
    replay(&mut gateway, 20 << 20).await;
    eventually("every event is emitted or counted", async || {
        let (accepted, dropped) = (gateway.count(&of("accepted")).await, gateway.count(&of("dropped")).await);
        (dropped > 0.0 && accepted + dropped == many as f64).then_some(())
    })
    .await;
    let live = gateway.announcer().await.announce(CHURCH, 1, "").await[0];
    client.until_event(live).await;
    assert_eq!(client.recovered(), [false]);
}
