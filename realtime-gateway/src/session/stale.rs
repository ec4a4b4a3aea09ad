//! Removes stale subscriptions. A client that disconnects in the moment in which it is let in is not reported, and its
//! subscription would stay for ever.

use std::sync::Arc;
use std::time::Duration;

use socketioxide::SocketIo;
use socketioxide::extract::SocketRef;
use tokio::time::{MissedTickBehavior, interval};
use tracing::debug;

use crate::gateway::Gateway;
use crate::rooms::{CloseReason, Subscriber, is_same};

/// Between two looks.
const TICK: Duration = Duration::from_secs(2);

/// Whether the library still has this very socket. The socket's own answer is not reliable.
pub(super) fn is_connected(io: &SocketIo, socket: &SocketRef) -> bool {
    let known = io.of("/").and_then(|namespace| namespace.get_socket(socket.id));
    known.is_some_and(|known| is_same(&known, socket))
}

/// Removes stale subscriptions, until it is dropped.
pub(crate) async fn clear(gateway: Arc<Gateway>, io: SocketIo) {
    let mut tick = interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut disconnected = Disconnected::default();
    loop {
        tick.tick().await;
        // While the gateway stops, the library has no sockets.
        if gateway.shutdown.is_cancelled() {
            continue;
        }
        for subscriber in disconnected.look(&io, gateway.hub.subscribers()) {
            let Subscriber { client, socket } = &subscriber;
            debug!(church.id = %client.church, socket.id = %socket.id, "removes a stale subscription");
            gateway.counters.stale_subscriptions.inc();
            gateway.hub.remove(&subscriber, Some(CloseReason::Gone));
        }
    }
}

/// Subscribers whose sockets were disconnected at the last look.
#[derive(Default)]
struct Disconnected(Vec<Subscriber>);

impl Disconnected {
    /// Returns the stale ones among all subscribers. Normally a subscription is removed a moment after its socket has
    /// disconnected; it is stale if it is found at two looks in a row.
    fn look(&mut self, io: &SocketIo, mut subscribers: Vec<Subscriber>) -> Vec<Subscriber> {
        subscribers.retain(|subscriber| !is_connected(io, &subscriber.socket));
        let before = std::mem::replace(&mut self.0, subscribers.clone());
        subscribers.retain(|now| before.iter().any(|before| is_same(&before.socket, &now.socket)));
        subscribers
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rooms::test_sockets::{subscriber, two_of_one_session};

    #[tokio::test]
    async fn a_subscription_is_stale_if_its_socket_is_disconnected_at_two_looks() {
        let (io, [left, present]) = two_of_one_session().await;
        let all = [&left, &present].map(|socket| subscriber(socket).0).to_vec();
        let mut disconnected = Disconnected::default();
        assert!(disconnected.look(&io, all.clone()).is_empty());
        let stale = disconnected.look(&io, all.clone());
        assert!(stale.len() == 1 && is_same(&stale[0].socket, &left));
        assert!(disconnected.look(&io, all[1..].to_vec()).is_empty());
        assert!(disconnected.look(&io, all).is_empty(), "it was not there at the last look");
    }
}
