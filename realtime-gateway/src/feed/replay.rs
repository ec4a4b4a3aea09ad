//! Stored events that operators send again, by a consumer that delivers to one subject which every gateway hears.
//!
//! How fast they come is the consumer's business. Here a guard stands before the sockets, so that a replay takes nothing
//! from the live events: it has a connection of its own, waits in a queue that is bounded by bytes, goes out in turns, at
//! most 200 events of a church a second, and fills no more than half of what a socket may have out. What does not fit is
//! left out and counted: a replayed event carries no cursor, so no client's continuity depends on it.

mod queue;
mod source;

use std::sync::Arc;
use std::time::Duration;

use async_nats::Message;
use common::broker::Broker;
use common::subject::{self, REPLAY, STREAM};
use futures_util::StreamExt as _;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::events::decode;
use crate::events::packets::{self, Delivery};
use crate::feed::replay::queue::{Queue, Waiting};
use crate::feed::replay::source::{Consumers, Source};
use crate::metrics::{Counters, Reason};
use crate::rooms::hub::Hub;

/// A church gets one event in each turn.
const TURN: Duration = Duration::from_millis(5);
/// How often it is told what was left out.
const REPORT: Duration = Duration::from_secs(60);

/// Hears replayed events until the shutdown.
///
/// # Errors
/// The connection can't be used at all.
pub(crate) async fn hear(
    broker: Broker,
    hub: Arc<Hub>,
    counters: Counters,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let mut replayed = broker.client().subscribe(REPLAY).await?;
    let mut replay = Replay::new(hub, counters);
    let (mut turn, mut report) = (interval(TURN), interval(REPORT));
    turn.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            message = replayed.next() => match message {
                Some(message) => replay.take(message),
                None => return Ok(()),
            },
            _ = turn.tick(), if !replay.queue.is_empty() => replay.send_turn(),
            _ = report.tick() => replay.report(),
        }
    }
}

/// What is on its way from the consumers to the sockets.
struct Replay {
    hub: Arc<Hub>,
    counters: Counters,
    consumers: Consumers,
    queue: Queue,
    untold: LeftOut,
}

/// What was left out since the last report.
#[derive(Debug, Default)]
struct LeftOut {
    /// Events that did not reach us, or found no room in the queue.
    dropped: u64,
    /// Times that a socket had no room for an event.
    skipped: u64,
    /// Messages that are no events of the stream.
    refused: u64,
    /// Why the last of them is none.
    why: &'static str,
}

impl Replay {
    fn new(hub: Arc<Hub>, counters: Counters) -> Self {
        let (consumers, queue) = (Consumers::default(), Queue::default());
        Self { hub, counters, consumers, queue, untold: LeftOut::default() }
    }

    /// Puts a message into the queue, if it shows that a consumer took it from our stream: the reply is the
    /// acknowledgement that the server expects.
    fn take(&mut self, message: Message) {
        let source = message.reply.as_deref().and_then(Source::parse);
        let Some(source) = source.filter(|source| source.stream == STREAM) else {
            return self.refuse("it does not come from a consumer of the stream");
        };
        let missed = self.consumers.missed(&source);
        self.drop_events(missed);
        let Some((church, _)) = subject::parse(&message.subject) else {
            return self.refuse("its subject is none of the stream's");
        };
        if !self.hub.has_sockets(&church) {
            return self.count("nobody", 1);
        }
        if !self.queue.push(church, Waiting::new(&message.subject, &message.payload)) {
            self.drop_events(1);
        }
    }

    fn send_turn(&mut self) {
        for waiting in self.queue.take_turn() {
            match self.send(&waiting) {
                Ok(()) => self.count("accepted", 1),
                Err(why) => self.refuse(why),
            }
        }
    }

    fn send(&mut self, waiting: &Waiting) -> Result<(), &'static str> {
        let event =
            decode::parse(&waiting.subject, &waiting.payload).map_err(|_| "subject and payload disagree")?;
        let packets = packets::encode(&event, &waiting.payload, Delivery::Replayed)
            .map_err(|_| "the payload can't be encoded")?;
        let skipped = self.hub.replay(&event.church_id, &packets);
        self.untold.skipped += skipped;
        self.counters.replays_skipped.inc_by(skipped);
        Ok(())
    }

    fn drop_events(&mut self, events: u64) {
        self.untold.dropped += events;
        self.count("dropped", events);
    }

    fn refuse(&mut self, why: &'static str) {
        (self.untold.refused, self.untold.why) = (self.untold.refused + 1, why);
        self.count("refused", 1);
    }

    fn count(&self, reason: &'static str, events: u64) {
        if events > 0 {
            self.counters.replays.get_or_create(&Reason { reason }).inc_by(events);
        }
    }

    fn report(&mut self) {
        let LeftOut { dropped, skipped, refused, why } = std::mem::take(&mut self.untold);
        if dropped + skipped > 0 {
            warn!(dropped, skipped, "a replay was faster than clients can be told; make its consumer slower");
        }
        if refused > 0 {
            warn!(refused, why, "messages were sent to {REPLAY} that are no events of the stream");
        }
    }
}
