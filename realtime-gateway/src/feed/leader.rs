//! Asks the stream's leader where the stream ends, on a tick and after every reconnect. That finds what no event shows:
//! a lost last message, or a stream that is another one now.

use std::sync::Arc;
use std::time::Duration;

use common::broker::Broker;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::events::decode;
use crate::rooms::Hub;
use crate::stream::{Extent, Position, ReadError, Reader};

/// Between two questions.
const TICK: Duration = Duration::from_secs(1);
/// A message that was stored before the leader's answer has arrived here so long after it, if it arrives at all.
const IN_FLIGHT: Duration = Duration::from_millis(100);

/// The leader's answer, and our position when it was asked.
pub(crate) struct Observation {
    /// Where the stream begins and ends.
    pub(crate) extent: Result<Extent, ReadError>,
    /// Our position.
    pub(crate) position: Option<Position>,
    /// The stream does not contain that position.
    pub(crate) is_another: bool,
}

/// Asks the leader on every tick and after every reconnect. It runs beside the follower, so that a late answer delays
/// no event.
pub(crate) async fn watch(
    broker: Broker,
    reader: Reader,
    hub: Arc<Hub>,
    observed: mpsc::Sender<Observation>,
) {
    let mut link = broker.link();
    let mut tick = interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            changed = link.changed() => if changed.is_err() { return },
        }
        if link.borrow_and_update().up {
            let observation = observe(&reader, hub.head()).await;
            sleep(IN_FLIGHT).await;
            if observed.send(observation).await.is_err() {
                return;
            }
        }
    }
}

async fn observe(reader: &Reader, position: Option<Position>) -> Observation {
    let mut extent = reader.extent().await;
    if let (Some(position), Ok(short)) = (position, &extent)
        && position.sequence > short.last
    {
        // A new leader may not have applied all that it has; ask twice.
        sleep(TICK).await;
        extent = reader.extent().await;
    }
    let is_another = match (position, &extent) {
        (Some(position), Ok(extent)) => {
            position.created != extent.created
                || position.sequence > extent.last
                || (position.sequence >= extent.first.max(1) && is_another_event(reader, position).await)
        }
        _ => false,
    };
    Observation { extent, position, is_another }
}

/// Whether another message is at our position: the stream lost its tail and has grown again.
async fn is_another_event(reader: &Reader, position: Position) -> bool {
    let stored = reader.at(position.sequence).await.ok().flatten();
    stored.is_some_and(|stored| decode::fingerprint(&stored) != position.fingerprint)
}
