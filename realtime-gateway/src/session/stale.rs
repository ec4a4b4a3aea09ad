//! Seats whose sockets have left without anybody being told: a client that is gone in the moment in which it is let in
//! would keep its seat for ever.

use std::sync::Arc;
use std::time::Duration;

use socketioxide::SocketIo;
use socketioxide::extract::SocketRef;
use tokio::time::{MissedTickBehavior, interval};
use tracing::debug;

use crate::gateway::Gateway;
use crate::rooms::subscriber::{Member, is_same};

/// Between two looks.
const TICK: Duration = Duration::from_secs(2);

/// Whether the library still knows this very socket: one that has left is not told of again, whatever it says itself.
pub(crate) fn is_here(io: &SocketIo, socket: &SocketRef) -> bool {
    let known = io.of("/").and_then(|namespace| namespace.get_socket(socket.id));
    known.is_some_and(|known| is_same(&known, socket))
}

/// Takes left-over seats away, until it is dropped.
pub(crate) async fn clear(gateway: Arc<Gateway>, io: SocketIo) {
    let mut tick = interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut before = Vec::<Member>::new();
    loop {
        tick.tick().await;
        // While the gateway stops, the library knows nobody.
        if gateway.shutdown.is_cancelled() {
            continue;
        }
        let mut members = gateway.hub.members();
        members.retain(|member| !is_here(&io, &member.socket));
        // Normally the seat is taken away a moment after the socket has left. Only one that is found at two looks in a
        // row is left over.
        for member in
            members.iter().filter(|member| before.iter().any(|one| is_same(&one.socket, &member.socket)))
        {
            debug!(church = %member.church, socket = %member.socket.id, "its seat was left over");
            gateway.counters.leftovers.inc();
            gateway.clear_up(member);
        }
        before = members;
    }
}
