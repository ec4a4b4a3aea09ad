//! The leader's word on the stream, asked for on a tick and after every reconnect: so what nobody would notice is found,
//! a lost last message or a stream that is another one now.

use std::sync::Arc;
use std::time::Duration;

use common::broker::Broker;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::events::decode;
use crate::rooms::hub::Hub;
use crate::stream::cursor::Place;
use crate::stream::reader::{Extent, ReadError, Reader};

/// How often the leader is asked.
const TICK: Duration = Duration::from_secs(1);
/// What was stored before the leader's answer has arrived so long after it, if it arrives at all.
const IN_FLIGHT: Duration = Duration::from_millis(100);

/// The leader's word, and what was at the place where we were when it was asked.
pub(crate) struct Observation {
    /// Where the stream begins and ends.
    pub(crate) extent: Result<Extent, ReadError>,
    /// Where we were.
    pub(crate) place: Option<Place>,
    /// Whether the stream is not the one in which we were there.
    pub(crate) is_another: bool,
}

/// Asks the leader on every tick and after every reconnect. Beside the follower, so that a late answer holds up no
/// event.
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

async fn observe(reader: &Reader, place: Option<Place>) -> Observation {
    let mut extent = reader.extent().await;
    if let (Some(place), Ok(short)) = (place, &extent)
        && place.sequence > short.last
    {
        // A new leader may still be taking in what it has; it is asked twice.
        sleep(TICK).await;
        extent = reader.extent().await;
    }
    let is_another = match (place, &extent) {
        (Some(place), Ok(extent)) => {
            place.created != extent.created
                || place.sequence > extent.last
                || (place.sequence >= extent.first.max(1) && another_event(reader, place).await)
        }
        _ => false,
    };
    Observation { extent, place, is_another }
}

/// Whether another event is at our place: the stream lost its tail and grew a new one.
async fn another_event(reader: &Reader, place: Place) -> bool {
    let stored = reader.at(place.sequence).await.ok().flatten();
    stored.is_some_and(|stored| decode::fingerprint(&stored) != place.fingerprint)
}
