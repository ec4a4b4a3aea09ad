//! A gateway that stops sends its clients to another one, and none of them notices more than a reconnect.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use deploy::watch::Seen;
use tests::client::{Client, whole_event};
use tests::databases::Kind;
use tests::eventually;
use tests::proxy::Proxy;
use tests::stack::TestStack;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{AUTHOR, CHURCH};

/// Clients at the gateway that stops, all in one process.
const CROWD: usize = 40;

/// Looks on until each of the crowd has this event.
async fn until_all_have(crowd: &mut Client, event: Uuid) {
    let mut have: BTreeSet<_> = crowd.seen().iter().filter_map(|seen| holder(seen, event)).collect();
    while have.len() < CROWD {
        have.extend(holder(crowd.next().await, event));
    }
}

fn holder(seen: &Seen, event: Uuid) -> Option<usize> {
    (whole_event(seen) == Some(event)).then_some(seen.socket)
}

/// Events of the church until it is told to stop; gives them.
async fn announce_until(
    stack: &TestStack,
    stop: CancellationToken,
) -> impl Future<Output = Vec<Uuid>> + use<> {
    let announcer = stack.announcer().await;
    async move {
        let mut events = Vec::new();
        while !stop.is_cancelled() {
            events.extend(announcer.announce(CHURCH, 1, "").await);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        events
    }
}

/// Some were still served by the old gateway after others had been sent away.
fn assert_gradual(crowd: &Client) {
    let (mut gone, mut served_meanwhile) = (BTreeSet::new(), BTreeSet::new());
    for seen in crowd.seen() {
        if seen.event == "disconnect" {
            gone.insert(seen.socket);
        } else if !gone.is_empty() && !gone.contains(&seen.socket) && whole_event(seen).is_some() {
            served_meanwhile.insert(seen.socket);
        }
    }
    assert_eq!(gone.len(), CROWD);
    assert!(served_meanwhile.len() >= CROWD / 2, "only {served_meanwhile:?} got events meanwhile");
}

/// Each has every event once, in order, and was told so when it came back.
fn assert_each_has_all(crowd: &Client, events: &[Uuid]) {
    let (mut have, mut recovered) = (BTreeMap::<_, Vec<_>>::new(), BTreeMap::<_, Vec<_>>::new());
    for seen in crowd.seen() {
        have.entry(seen.socket).or_default().extend(whole_event(seen));
        recovered.entry(seen.socket).or_default().extend(seen.data["recovered"].as_bool());
    }
    for socket in 0..CROWD {
        assert_eq!(have[&socket], events, "socket {socket}");
        assert_eq!(recovered[&socket], [false, true], "socket {socket}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_stops_hands_its_clients_over_one_after_the_other_and_no_event_is_missing() {
    let mut stack = TestStack::start_with(Kind::Sqlite, |options| {
        options.gateways = 2;
        options.environment.push(("realtime-gateway".into(), "GATEWAY_DRAIN".into(), "4".into()));
    })
    .await;
    let file = stack.stack.file().clone();
    let proxy = Proxy::to(&file.gateways[0]).await;
    let arguments = ["--sockets", &CROWD.to_string(), "--delay", "100"];
    let mut crowd = Client::start(&proxy.url(), &stack.token(CHURCH, AUTHOR), &arguments).await;
    while crowd.recovered().len() < CROWD {
        crowd.next().await;
    }
    let mut events = stack.announcer().await.announce(CHURCH, 1, "").await;
    until_all_have(&mut crowd, events[0]).await;

    let stop = CancellationToken::new();
    let announcing = tokio::spawn(announce_until(&stack, stop.clone()).await);
    let http = stack.stack.http().clone();
    // A load balancer takes it out as soon as it says that it is not ready.
    let balancing = async {
        eventually("the gateway is not ready any more", async || {
            let answer = http.get(format!("{}/readyz", file.ops.gateways[0])).send().await.ok()?;
            (answer.status() == 503).then_some(())
        })
        .await;
        proxy.lead_new_to(&file.gateways[1]);
    };
    let (status, ()) = tokio::join!(stack.stack.terminate("realtime-gateway-1"), balancing);
    assert_eq!(status.unwrap().code(), Some(0));
    stop.cancel();
    events.extend(announcing.await.unwrap());
    // The last who was sent away may have had all of them already.
    events.extend(stack.announcer().await.announce(CHURCH, 1, "").await);
    until_all_have(&mut crowd, events[events.len() - 1]).await;
    assert_gradual(&crowd);
    assert_each_has_all(&crowd, &events);
    assert_eq!(stack.metric(&file.ops.gateways[1], "church_gateway_sockets").await, CROWD as f64);
}
