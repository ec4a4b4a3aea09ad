//! The broker is a cluster of three servers with `deploy/nats/cluster.conf`, and one of them is lost, cut off, restarted
//! or replaced. Browsers get every event exactly once, and are told of a gap only if the stream itself is lost.

use tests::client::Client;
use tests::cluster::Cluster;
use tests::databases::Kind;
use tests::eventually;
use tests::stack::TestStack;
use uuid::Uuid;

use super::{AUTHOR, CHURCH, DELIVERED};

/// The whole suite on a cluster, with a browser at each of its two gateways.
struct Scene {
    cluster: Cluster,
    stack: TestStack,
    browsers: Vec<Client>,
    messages: Vec<Uuid>,
}

impl Scene {
    async fn start() -> Self {
        let cluster = Cluster::start().await;
        let stack = TestStack::start_with(Kind::Sqlite, |options| {
            options.gateways = 2;
            options.broker = Some(cluster.access());
        })
        .await;
        let mut browsers = Vec::new();
        for gateway in &stack.stack.file().gateways {
            browsers.push(stack.client_at(gateway, CHURCH, AUTHOR).await);
        }
        Self { cluster, stack, browsers, messages: Vec::new() }
    }

    async fn send(&mut self) {
        for _ in 0..3 {
            self.messages.push(self.stack.send(CHURCH, AUTHOR, &[DELIVERED]).await);
        }
    }

    /// Waits until every message is delivered and announced, the gateways are ready, and each browser has every event
    /// of the stream. Fails unless it got each exactly once, in order.
    async fn assert_whole(&mut self) {
        for message in &self.messages {
            self.stack.until_status(CHURCH, *message, "delivered").await;
        }
        self.stack.until_announced().await;
        for gateway in ["realtime-gateway-1", "realtime-gateway-2"] {
            self.stack.stack.ready(gateway).await.unwrap();
        }
        let events: Vec<_> = self.stack.stored(CHURCH).await.iter().map(|event| event.id).collect();
        for browser in &mut self.browsers {
            browser.until_event(events[events.len() - 1]).await;
            assert_eq!(browser.whole_events(), events);
        }
    }

    /// How often each browser was told, after its first connection, that it may have missed something.
    fn gaps(&self) -> Vec<usize> {
        let gaps =
            |browser: &Client| browser.recovered()[1..].iter().filter(|recovered| !**recovered).count();
        self.browsers.iter().map(gaps).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_leader_costs_no_event_and_tells_nobody_of_a_gap() {
    let mut scene = Scene::start().await;
    scene.send().await;
    scene.assert_whole().await;
    let leader = scene.cluster.leader().await;
    scene.cluster.kill(leader).await;
    scene.send().await;
    scene.assert_whole().await;
    assert_ne!(scene.cluster.leader().await, leader);
    scene.cluster.restart(leader);
    scene.cluster.until_healthy().await;
    scene.send().await;
    scene.assert_whole().await;
    assert_eq!(scene.gaps(), [0, 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_server_may_be_cut_off_in_turn() {
    let mut scene = Scene::start().await;
    for server in 0..3 {
        scene.cluster.cut_off(server, true);
        scene.send().await;
        scene.assert_whole().await;
        scene.cluster.cut_off(server, false);
        scene.cluster.until_healthy().await;
        scene.send().await;
        scene.assert_whole().await;
    }
    assert_eq!(scene.gaps(), [0, 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_restart_costs_no_event() {
    let mut scene = Scene::start().await;
    for server in 0..3 {
        scene.send().await;
        scene.cluster.retire(server).await;
        scene.send().await;
        scene.cluster.restart(server);
        scene.cluster.until_healthy_at(server).await;
        scene.assert_whole().await;
    }
    assert_eq!(scene.gaps(), [0, 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_with_an_empty_disk_gets_the_stream_from_the_others() {
    let mut scene = Scene::start().await;
    scene.send().await;
    scene.assert_whole().await;
    let emptied = scene.cluster.leader().await;
    scene.cluster.kill(emptied).await;
    scene.cluster.wipe(emptied);
    scene.cluster.restart(emptied);
    scene.cluster.until_healthy().await;
    scene.send().await;
    scene.assert_whole().await;
    // Now the stream stands on what the emptied server got from the others.
    scene.cluster.kill((emptied + 1) % 3).await;
    scene.send().await;
    scene.assert_whole().await;
    assert_eq!(scene.gaps(), [0, 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn browsers_are_told_of_a_gap_once_when_all_servers_lost_the_stream() {
    let mut scene = Scene::start().await;
    scene.send().await;
    scene.assert_whole().await;
    for server in 0..3 {
        scene.cluster.kill(server).await;
        scene.cluster.wipe(server);
    }
    for server in 0..3 {
        scene.cluster.restart(server);
    }
    scene.cluster.provision().await;
    scene.send().await;
    for message in &scene.messages {
        scene.stack.until_status(CHURCH, *message, "delivered").await;
    }
    scene.stack.until_announced().await;
    eventually("the relay has announced what was lost", async || {
        let events = scene.stack.stored(CHURCH).await;
        let is_there = |message: &Uuid| events.iter().any(|event| event.message_id == *message);
        scene.messages.iter().all(is_there).then_some(())
    })
    .await;
    for browser in &mut scene.browsers {
        while browser.recovered() == [false] {
            browser.next().await;
        }
    }
    // What came before they were told is in the history that they read then. What comes now is live.
    scene.send().await;
    for message in &scene.messages {
        scene.stack.until_status(CHURCH, *message, "delivered").await;
    }
    scene.stack.until_announced().await;
    let events = scene.stack.stored(CHURCH).await;
    for browser in &mut scene.browsers {
        browser.until_event(events[events.len() - 1].id).await;
    }
    assert_eq!(scene.gaps(), [1, 1]);
}
