//! Following the stream: every sequence once, in order, without a hole.
//!
//! The stream republishes what it has stored, with its sequence, and that rises by exactly one: so one number proves
//! that nothing is missing. What was not heard is read back by direct get. What nobody would notice, a lost last
//! message or a stream that is another one now, is found by asking the stream's leader from time to time and after
//! every reconnect.

use std::sync::Arc;
use std::time::Duration;

use async_nats::{Message, Subscriber};
use common::broker::Broker;
use common::service::Condition;
use common::subject::{LIVE, STREAM_SUBJECTS};
use futures_util::StreamExt as _;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::cursor::{Fingerprint, Place};
use crate::hub::{Hub, PACE, STRIDE};
use crate::intake;
use crate::memory::{Limits, Memory};
use crate::metrics::Counters;
use crate::revocations::Revocations;
use crate::stream::{Extent, MESSAGES_OF_AN_OPERATION, ReadError, Reader, Stored};

/// How often the leader is asked.
const TICK: Duration = Duration::from_secs(1);
/// What was stored before the leader's answer has arrived so long after it, if it arrives at all.
const IN_FLIGHT: Duration = Duration::from_millis(100);
/// How long to wait before a read that failed is tried again.
const RETRY: Duration = Duration::from_millis(500);
/// How often an answer without messages is asked for again, because another replica may know more.
const EMPTY_ANSWERS: u32 = 20;

/// What following the stream needs.
pub(crate) struct Source {
    /// The connection.
    pub(crate) broker: Broker,
    /// Reads over it.
    pub(crate) reader: Reader,
    /// Where events go.
    pub(crate) hub: Arc<Hub>,
    /// Where revocations go.
    pub(crate) revocations: Arc<Revocations>,
    /// Whether the gateway has its place in the stream.
    pub(crate) condition: Condition,
    /// How much of the stream's newest part is kept.
    pub(crate) limits: Limits,
    /// Where it is counted.
    pub(crate) counters: Counters,
}

/// Follows the stream until the shutdown.
///
/// # Errors
/// The connection to the broker can't be used at all.
pub(crate) async fn follow(source: Source, shutdown: CancellationToken) -> anyhow::Result<()> {
    let live = source.broker.client().subscribe(LIVE).await?;
    let (observed, observations) = mpsc::channel(1);
    let watch = watch_leader(source.broker.clone(), source.reader.clone(), source.hub.clone(), observed);
    let follower = Follower { source, created: 0, last: 0, seen: 0 };
    tokio::select! {
        () = shutdown.cancelled() => {}
        () = watch => {}
        () = follower.run(live, observations) => {}
    }
    Ok(())
}

/// The leader's word, and what was at the place where we were when it was asked.
struct Observation {
    extent: Result<Extent, ReadError>,
    place: Option<Place>,
    is_another: bool,
}

/// Asks the leader on every tick and after every reconnect. Beside the follower, so that a late answer holds up no
/// event.
async fn watch_leader(broker: Broker, reader: Reader, hub: Arc<Hub>, observed: mpsc::Sender<Observation>) {
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
    stored.is_some_and(|stored| intake::fingerprint(&stored) != place.fingerprint)
}

struct Follower {
    source: Source,
    created: u64,
    /// The last sequence that was handed on.
    last: u64,
    /// The last sequence that is known to exist.
    seen: u64,
}

/// What went wrong while reading: either it may work later, or the place is lost.
enum Trouble {
    Later(ReadError),
    PlaceLost(&'static str),
}

impl From<ReadError> for Trouble {
    fn from(error: ReadError) -> Self {
        Self::Later(error)
    }
}

impl Follower {
    async fn run(mut self, mut live: Subscriber, mut observations: mpsc::Receiver<Observation>) {
        self.take_place().await;
        loop {
            let lost = tokio::select! {
                // What was heard already comes first, so that nothing is taken for missed that only waits here.
                biased;
                message = live.next() => match message {
                    Some(message) => self.hear(message),
                    None => return,
                },
                observation = observations.recv() => match observation {
                    Some(observation) => self.consider(observation),
                    None => return,
                },
            };
            let lost = match lost {
                Some(why) => Some(why),
                None => self.catch_up().await,
            };
            if let Some(why) = lost {
                warn!(why, "the stream is not the one that we followed; every socket is told to read again");
                self.source.counters.discontinuities.inc();
                self.take_place().await;
            }
        }
    }

    /// One message of the live subscription. Says why, if it shows that the stream is another one.
    fn hear(&mut self, message: Message) -> Option<&'static str> {
        let stored = Stored::republished(message)?;
        if stored.sequence == self.last + 1 {
            self.accept(&stored);
        } else if stored.sequence > self.last {
            self.seen = self.seen.max(stored.sequence);
        } else if let Some(held) = self.source.hub.fingerprint(stored.sequence)
            && held != intake::fingerprint(&stored)
        {
            return Some("another event came at a sequence that was there before");
        }
        None
    }

    fn consider(&mut self, observation: Observation) -> Option<&'static str> {
        match observation.extent {
            Ok(_) if observation.is_another && self.still_at(observation.place) => {
                Some("it was recreated or lost its end")
            }
            // What was said of another stream, before this place was taken, counts no more.
            Ok(extent) if extent.created != self.created => None,
            Ok(extent) => {
                self.source.condition.met();
                self.seen = self.last.max(extent.last);
                None
            }
            Err(error) => {
                if error == ReadError::NoStream {
                    self.source.condition.unmet(error.to_string());
                }
                None
            }
        }
    }

    /// Whether an observed place belongs to the stream that we follow now.
    fn still_at(&self, place: Option<Place>) -> bool {
        place.is_some_and(|place| {
            place.created == self.created
                && self.source.hub.fingerprint(place.sequence) == Some(place.fingerprint)
        })
    }

    fn accept(&mut self, stored: &Stored) {
        self.source.revocations.hear(stored);
        self.source.hub.publish(stored);
        self.last = stored.sequence;
        self.seen = self.seen.max(self.last);
    }

    /// Reads back what exists and was not heard.
    async fn catch_up(&mut self) -> Option<&'static str> {
        if self.last >= self.seen {
            return None;
        }
        let before = self.last;
        let outcome = self.read_back().await;
        self.source.counters.gaps_healed.inc_by(self.last - before);
        match outcome {
            Ok(()) => None,
            Err(Trouble::PlaceLost(why)) => Some(why),
            Err(Trouble::Later(error)) => {
                warn!(%error, missing = self.seen - self.last, "a gap can't be healed yet");
                sleep(RETRY).await;
                None
            }
        }
    }

    async fn read_back(&mut self) -> Result<(), Trouble> {
        while self.last < self.seen {
            for stride in read_after(&self.source.reader, self.last).await?.chunks(STRIDE) {
                for stored in stride {
                    if stored.sequence != self.last + 1 {
                        return Err(Trouble::PlaceLost("what was missed is not kept any more"));
                    }
                    self.accept(stored);
                }
                sleep(PACE).await;
            }
        }
        Ok(())
    }

    /// Takes a place at the stream's end, with its newest part in memory. Tries until it has one.
    async fn take_place(&mut self) {
        let mut said = None;
        loop {
            match self.read_newest_part().await {
                Ok((extent, memory)) => {
                    self.created = extent.created;
                    self.last = memory.last();
                    self.seen = self.last;
                    self.source.hub.take_place(extent.created, memory);
                    self.source.condition.met();
                    info!(sequence = self.last, "following the stream");
                    self.warn_of_small_memory(extent);
                    return;
                }
                Err(error) => {
                    self.source.condition.unmet(error.to_string());
                    if said.as_ref() != Some(&error) && self.source.broker.link().borrow().up {
                        warn!(%error, "no place in the stream yet; trying on");
                        said = Some(error);
                    }
                    sleep(RETRY).await;
                }
            }
        }
    }

    /// What is newer than memory goes back can't be proved by a replica.
    fn warn_of_small_memory(&self, extent: Extent) {
        let kept = self.source.limits.events.min(self.source.limits.church_events) as u64;
        if extent.lag.is_some() && kept < MESSAGES_OF_AN_OPERATION {
            warn!(
                kept,
                needed = MESSAGES_OF_AN_OPERATION,
                "GATEWAY_MEMORY_EVENTS or GATEWAY_MEMORY_CHURCH_EVENTS is too small for a replicated stream: clients \
                 that were away will have to read the history"
            );
        }
    }

    /// The subscription is older than the question, so what the answer does not count yet will be heard.
    async fn read_newest_part(&self) -> Result<(Extent, Memory), ReadError> {
        let extent = self.source.reader.extent().await?;
        let oldest = (extent.last + 1).saturating_sub(self.source.limits.events as u64).max(extent.first);
        let floor = oldest.saturating_sub(1).min(extent.last);
        let at_floor = if floor < extent.first.max(1) {
            Some(Fingerprint::default())
        } else {
            self.source.reader.at(floor).await?.map(|stored| intake::fingerprint(&stored))
        };
        let mut memory = Memory::new(self.source.limits, floor, at_floor);
        while memory.last() < extent.last {
            for stored in read_after(&self.source.reader, memory.last()).await? {
                if stored.sequence > memory.last() + 1 {
                    // The oldest went while we read: begin after it.
                    memory =
                        Memory::new(self.source.limits, stored.sequence - 1, Some(Fingerprint::default()));
                }
                self.source.revocations.hear(&stored);
                // What is no event was told of when it came.
                let _ = memory.take(extent.created, &stored);
            }
        }
        self.source.revocations.read_back(&self.source.reader).await?;
        Ok((extent, memory))
    }
}

/// The messages after a sequence, where some are known to be.
async fn read_after(reader: &Reader, sequence: u64) -> Result<Vec<Stored>, ReadError> {
    for _ in 0..EMPTY_ANSWERS {
        let messages = reader.from(sequence + 1, STREAM_SUBJECTS).await?.messages;
        if !messages.is_empty() {
            return Ok(messages);
        }
        sleep(RETRY / EMPTY_ANSWERS).await;
    }
    Err(ReadError::Unavailable("what is there is not given out".into()))
}
