//! Stored events that operators replay: a consumer of the stream delivers them to one subject that every gateway hears.
//!
//! The consumer decides how fast they come. A replay must not slow live events down. So it has a broker connection of
//! its own, waits in a queue that is bounded by bytes, sends at most 200 events of a church a second, and fills no more
//! than half of a socket's credit. Events that do not fit are left out and counted: a replayed event carries no cursor,
//! so no client's continuity depends on it.

mod ack;
mod queue;

use std::sync::Arc;
use std::time::Duration;

use async_nats::Message;
use common::broker::Broker;
use common::subject::{self, REPLAY, STREAM};
use futures_util::StreamExt as _;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::events::{Delivery, decode};
use crate::feed::replay::ack::{Ack, Consumers};
use crate::feed::replay::queue::{Queue, Waiting};
use crate::metrics::{Counters, Outcome};
use crate::rooms::Hub;

/// Time between two turns; each church gets one event in a turn.
const TURN: Duration = Duration::from_millis(5);
/// How often the log tells what was left out.
const REPORT: Duration = Duration::from_secs(60);

/// Sends replayed events until the shutdown.
///
/// # Errors
/// The broker connection can't subscribe.
pub(crate) async fn run(
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

/// Replayed events on their way to the sockets.
struct Replay {
    hub: Arc<Hub>,
    counters: Counters,
    consumers: Consumers,
    queue: Queue,
    unreported: LeftOut,
}

/// What was left out since the last report.
#[derive(Debug, Default)]
struct LeftOut {
    /// Events that did not reach this gateway or found no room in the queue.
    dropped: u64,
    /// Times that a socket had no room for an event.
    skipped: u64,
    /// Messages that no consumer took from the stream, or that are no events.
    refused: u64,
    /// Why the last of them was refused.
    why: &'static str,
}

impl Replay {
    fn new(hub: Arc<Hub>, counters: Counters) -> Self {
        let (consumers, queue) = (Consumers::default(), Queue::default());
        Self { hub, counters, consumers, queue, unreported: LeftOut::default() }
    }

    /// Queues a message if a consumer took it from our stream. Its reply subject, where the server expects the
    /// acknowledgement, shows that.
    fn take(&mut self, message: Message) {
        let ack = message.reply.as_deref().and_then(Ack::parse);
        let Some(ack) = ack.filter(|ack| ack.stream == STREAM) else {
            return self.refuse("it does not come from a consumer of the stream");
        };
        let missed = self.consumers.missed(&ack);
        self.drop_events(missed);
        let Some((church, _)) = subject::parse(&message.subject) else {
            return self.refuse("its subject is not one of the stream");
        };
        if !self.hub.has_sockets(&church) {
            return self.count("no_subscriber", 1);
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
        let Ok(Some(event)) = decode::parse(&waiting.subject, &waiting.payload) else {
            return Err("its payload does not match its subject");
        };
        let packets = event
            .packets(&waiting.payload, Delivery::Replayed)
            .map_err(|_| "its payload can't be encoded")?;
        let skipped = self.hub.replay(event.church(), &packets);
        self.unreported.skipped += skipped;
        self.counters.replays_skipped.inc_by(skipped);
        Ok(())
    }

    fn drop_events(&mut self, events: u64) {
        self.unreported.dropped += events;
        self.count("dropped", events);
    }

    fn refuse(&mut self, why: &'static str) {
        (self.unreported.refused, self.unreported.why) = (self.unreported.refused + 1, why);
        self.count("refused", 1);
    }

    fn count(&self, outcome: &'static str, events: u64) {
        if events > 0 {
            self.counters.replays.get_or_create(&Outcome { outcome }).inc_by(events);
        }
    }

    fn report(&mut self) {
        let LeftOut { dropped, skipped, refused, why } = std::mem::take(&mut self.unreported);
        if dropped + skipped > 0 {
            warn!(
                dropped,
                skipped,
                "left out replayed events that came faster than clients can take them; make the consumer slower"
            );
        }
        if refused > 0 {
            warn!(refused, why, "refused messages on {REPLAY} that are no events of the stream");
        }
    }
}
