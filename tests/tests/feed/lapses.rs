//! Late or missing events: readiness and `live:degraded` report them, and nothing readable is lost.

use std::time::Duration;

use async_nats::jetstream;
use common::claims::{IdClaim, Person};
use common::revocation::Revocation;
use deploy::watch::Seen;
use serde_json::{Value, json};
use tests::client::Client;
use tests::eventually;
use tests::gateway::TestGateway;
use tests::proxy::Proxy;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{CHURCH, HOUR, NOWHERE, has_seen, http, join, proxied};

/// Short limits for silence and gap, because tests can't wait for the defaults.
const SOON: [(&str, &str); 2] = [("GATEWAY_STREAM_SILENCE", "1500"), ("GATEWAY_STREAM_GAP", "1500")];
/// A short limit for silence, none for gaps.
const SILENCE: [(&str, &str); 2] = [("GATEWAY_STREAM_SILENCE", "1500"), ("GATEWAY_STREAM_GAP", "3600000")];
/// A short limit for gaps, none for silence.
const GAP: [(&str, &str); 2] = [("GATEWAY_STREAM_SILENCE", "3600000"), ("GATEWAY_STREAM_GAP", "1500")];

/// Waits for `live:degraded` with this value.
async fn until_degraded(client: &mut Client, degraded: bool) -> Value {
    client.until_one(|seen| seen.data["degraded"] == json!(degraded)).await.data
}

/// Fails unless the client gets exactly these events in order and no loss is reported.
async fn assert_has_all(client: &mut Client, events: &[Uuid]) {
    client.until_event(events[events.len() - 1]).await;
    assert_eq!(client.whole_events(), events);
    assert_eq!(client.recovered(), [false], "only the first `connected`");
    assert!(!has_seen(client, "disconnect"));
}

/// Checks that clients get `live:degraded` while the broker is unreachable, and every event afterwards.
async fn unreachable_broker(leave: impl Fn(&Proxy), come_back: impl Fn(&Proxy, &str)) {
    let (mut gateway, proxy) = proxied(&SILENCE).await;
    let mut client = join(&gateway, "first").await;
    let mut events = gateway.announcer().await.announce(CHURCH, 2, "").await;
    client.until_event(events[1]).await;

    leave(&proxy);
    let said = until_degraded(&mut client, true).await;
    assert_eq!(said["reason"], "unreachable", "{said}");
    assert!(said["since"].is_string(), "{said}");
    let (status, report) = gateway.readiness().await;
    assert_eq!(status, 200, "it keeps its sockets: {report}");
    let mut newcomer = join(&gateway, "second").await;
    assert_eq!(newcomer.next().await.event, "live:degraded");
    events.extend(gateway.announcer().await.announce(CHURCH, 3, "").await);

    come_back(&proxy, &http(gateway.broker()));
    for client in [&mut client, &mut newcomer] {
        until_degraded(client, false).await;
    }
    assert_has_all(&mut client, &events).await;
    assert_has_all(&mut newcomer, &events[2..]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_get_live_degraded_while_the_gateway_is_cut_off_from_the_broker() {
    unreachable_broker(|proxy| proxy.lead_to(NOWHERE), |proxy, broker| proxy.lead_to(broker)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_get_live_degraded_while_the_broker_is_silent() {
    unreachable_broker(|proxy| proxy.hold_answers(true), |proxy, _| proxy.hold_answers(false)).await;
}

/// Makes the gateway miss this many events and unable to read them.
async fn open_gap(gateway: &mut TestGateway, proxy: &Proxy, count: usize) -> Vec<Uuid> {
    gateway.broker().reconfigure(|stream| stream.allow_direct = false).await;
    proxy.lead_to(NOWHERE);
    let missed = gateway.announcer().await.announce(CHURCH, count, "").await;
    proxy.lead_to(&http(gateway.broker()));
    missed
}

async fn until_not_ready(gateway: &TestGateway) {
    eventually("the gateway is not ready", async || {
        let (status, said) = gateway.readiness().await;
        (status == 503 && said.contains("feed")).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gap_makes_the_gateway_not_ready_and_its_events_come_late_in_order() {
    let (mut gateway, proxy) = proxied(&GAP).await;
    let mut client = join(&gateway, "first").await;
    let mut events = gateway.announcer().await.announce(CHURCH, 2, "").await;
    client.until_event(events[1]).await;

    events.extend(open_gap(&mut gateway, &proxy, 3).await);
    assert_eq!(until_degraded(&mut client, true).await["reason"], "gap");
    until_not_ready(&gateway).await;
    let mut newcomer = join(&gateway, "second").await;
    assert_eq!(newcomer.next().await.event, "live:degraded");
    // Later events have to wait for the missing ones.
    events.extend(gateway.announcer().await.announce(CHURCH, 2, "").await);

    gateway.broker().reconfigure(|stream| stream.allow_direct = true).await;
    for client in [&mut client, &mut newcomer] {
        until_degraded(client, false).await;
    }
    assert_has_all(&mut client, &events).await;
    assert_has_all(&mut newcomer, &events[2..]).await;
    gateway.until_ready().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_takes_effect_at_once_during_a_gap() {
    let (mut gateway, proxy) = proxied(&GAP).await;
    let (mut client, mut revoked) = (join(&gateway, "first").await, join(&gateway, "second").await);
    let missed = open_gap(&mut gateway, &proxy, 1).await;
    until_degraded(&mut client, true).await;

    let person = Person { claim: IdClaim::UserId, id: "second".into() };
    let revocation =
        Revocation::new(CHURCH.parse().unwrap(), Some(person), OffsetDateTime::now_utc()).unwrap();
    let stream = jetstream::new(gateway.broker().client("ingest").await);
    let payload = serde_json::to_vec(&revocation).unwrap().into();
    stream.publish(format!("church.{CHURCH}.revoked"), payload).await.unwrap().await.unwrap();
    let refused = |seen: &Seen| seen.data["message"] == "Authentication error: token revoked";
    revoked.until_one(refused).await;
    gateway.broker().reconfigure(|stream| stream.allow_direct = true).await;
    assert_has_all(&mut client, &missed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_deleted_during_a_gap_give_recovered_false_and_the_feed_goes_on() {
    let (mut gateway, proxy) = proxied(&SOON).await;
    let mut client = join(&gateway, "first").await;
    let seen = gateway.announcer().await.announce(CHURCH, 2, "").await;
    client.until_event(seen[1]).await;
    open_gap(&mut gateway, &proxy, 3).await;
    until_degraded(&mut client, true).await;

    gateway.broker().reconfigure(|stream| stream.max_messages = 1).await;
    gateway.broker().reconfigure(|stream| stream.allow_direct = true).await;
    client.until("connected").await;
    until_degraded(&mut client, false).await;
    let later = gateway.announcer().await.announce(CHURCH, 2, "").await;
    client.until_event(later[1]).await;
    assert_eq!(client.whole_events(), [seen, later].concat());
    assert_eq!(client.recovered(), [false, false]);
    gateway.until_ready().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn auth_expiring_never_comes_before_connected() {
    let memory = [("GATEWAY_MEMORY_EVENTS", "1")];
    let mut gateway = TestGateway::start(&memory).await;
    let mut before = join(&gateway, "first").await;
    let first = gateway.announcer().await.announce(CHURCH, 1, "").await[0];
    before.until_event(first).await;
    let cursor = before.cursor().unwrap();
    let events = gateway.announcer().await.announce(CHURCH, 5, "").await;
    before.until_event(events[4]).await;

    // The events after its cursor can't be read before the client is closed.
    gateway.broker().reconfigure(|stream| stream.allow_direct = false).await;
    let tokens = [Duration::from_secs(50), HOUR].map(|valid| gateway.token(CHURCH, "second", valid));
    let mut client = Client::start(&gateway.url(), &tokens.join(","), &["--cursor", &cursor]).await;
    client.until("disconnect").await;
    assert!(!has_seen(&client, "auth:expiring"), "{:?}", client.seen());
    gateway.broker().reconfigure(|stream| stream.allow_direct = true).await;
    assert_eq!(client.until("connected").await.data["recovered"], true);
    client.until_event(events[4]).await;
    assert_eq!(client.whole_events(), events);
}
