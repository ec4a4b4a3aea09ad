//! Stopping without a stampede: the sockets are closed one after the other, and resume elsewhere.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use tracing::info;

use crate::rooms::hub::Hub;

/// Closes every socket's transport, evenly over the given time.
pub(crate) async fn drain(hub: &Hub, over: Duration) {
    let members = hub.members();
    info!(sockets = members.len(), ?over, "closing the sockets");
    let (begin, count) = (Instant::now(), members.len().max(1) as u32);
    for (member, n) in members.iter().zip(0u32..) {
        sleep_until(begin + over * n / count).await;
        hub.close(member, "stopping");
    }
}
