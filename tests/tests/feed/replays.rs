//! Operators send stored events again, more than clients can take: nobody is closed for it, and live events go first.

use async_nats::jetstream::{self, consumer};
use common::subject::{REPLAY, STREAM};
use tests::client::Client;
use tests::eventually;
use tests::gateway::TestGateway;
use tests::proxy::Proxy;

use super::{CHURCH, has_seen, join, join_at};

/// Events in the stream.
const MANY: usize = 2_000;
/// Makes an event so heavy.
const WEIGHT: usize = 1_000;
/// Bytes a second that a slow client gets: some of what the replay brings.
const SLOW: usize = 100_000;

/// Replays the whole stream, so many bytes a second; 0 is as fast as the broker can.
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

/// The counter of replayed events that this became of.
fn of(reason: &str) -> String {
    format!("church_gateway_replays_total{{outcome=\"{reason}\"}}")
}

fn replayed(client: &Client) -> usize {
    client.packets().filter(|seen| seen.data["replay"] == true).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_replay_closes_nobody_and_live_events_go_first() {
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
    // Each event of the replay comes in two packets.
    assert!(replayed(&clients[0]) < 2 * MANY, "the live events went first");

    // The consumer goes on with what was stored meanwhile.
    eventually("all of it was sent", async || {
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
async fn what_a_replay_has_too_much_is_left_out_and_counted() {
    let mut gateway = TestGateway::start(&[]).await;
    // More than may wait, and than goes out meanwhile.
    let (heavy, many) = ("x".repeat(20_000), 1_500);
    gateway.announcer().await.announce(CHURCH, many, &heavy).await;
    let mut client = join(&gateway, "reads").await;
    replay(&mut gateway, 20 << 20).await;
    eventually("every event is told of or counted", async || {
        let (accepted, dropped) = (gateway.count(&of("accepted")).await, gateway.count(&of("dropped")).await);
        (dropped > 0.0 && accepted + dropped == many as f64).then_some(())
    })
    .await;
    let live = gateway.announcer().await.announce(CHURCH, 1, "").await[0];
    client.until_event(live).await;
    assert_eq!(client.recovered(), [false]);
}
