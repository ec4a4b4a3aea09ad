//! Following the stream: every sequence once, in order, without a hole.
//!
//! The stream republishes what it has stored, with its sequence, and that rises by exactly one: so one number shows
//! that something is missing. What was not heard is read back by direct get.
//!
//! A stream that was cut and has grown again has the same sequences and other events. So each step is proved, in one of
//! three ways. The next event names the event before it. Or it came over the connection on which our place was proved. Or
//! it was read together with the event at our place.

use std::sync::Arc;
use std::time::Duration;

use async_nats::{Message, Subscriber};
use common::broker::Broker;
use common::service::Condition;
use common::subject::{LIVE, STREAM_SUBJECTS};
use futures_util::StreamExt as _;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::events::decode;
use crate::feed::health::Standing;
use crate::feed::leader::{self, Observation};
use crate::memory::recent::{Limits, Memory};
use crate::metrics::Counters;
use crate::rooms::hub::{Hub, PACE, STRIDE};
use crate::stream::cursor::{Fingerprint, Place};
use crate::stream::reader::{Extent, MESSAGES_OF_AN_OPERATION, ReadError, Reader, Stored};
use crate::tokens::revocations::Revocations;

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
    /// Whether the stream answers, and everything was handed on.
    pub(crate) standing: Arc<Standing>,
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
    let watch = leader::watch(source.broker.clone(), source.reader.clone(), source.hub.clone(), observed);
    let follower = Follower { source, created: 0, last: 0, seen: 0, proved_on: 0, retry: None, said: None };
    tokio::select! {
        () = shutdown.cancelled() => {}
        () = watch => {}
        () = follower.run(live, observations) => {}
    }
    Ok(())
}

struct Follower {
    source: Source,
    created: u64,
    /// The last sequence that was handed on.
    last: u64,
    /// The last sequence that is known to exist.
    seen: u64,
    /// The connection on which the last one was proved to be in the stream.
    proved_on: u64,
    /// When a gap is to be read again that could not be read.
    retry: Option<Instant>,
    /// Why it could not, as far as that was logged.
    said: Option<ReadError>,
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
                () = until(self.retry) => None,
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
        // A gap does not hold up what ends a socket.
        self.source.revocations.hear(&stored);
        if stored.sequence == self.last + 1 && self.joins(&stored) {
            self.accept(&stored);
        } else if stored.sequence > self.last {
            self.seen = self.seen.max(stored.sequence);
        } else if let Some(held) = self.held_at(stored.sequence)
            && held != decode::fingerprint(&stored)
        {
            return Some("another event came at a sequence that was there before");
        }
        None
    }

    /// Whether what was heard surely comes right after what we have. If not, that is read.
    fn joins(&self, next: &Stored) -> bool {
        match next.after {
            Some(before) => self.held_at(self.last) == Some(before),
            None => self.proved_on == self.source.broker.connections(),
        }
    }

    fn held_at(&self, sequence: u64) -> Option<Fingerprint> {
        self.source.hub.fingerprint(sequence)
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
                self.source.standing.answered(self.seen - self.last);
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
            place.created == self.created && self.held_at(place.sequence) == Some(place.fingerprint)
        })
    }

    fn accept(&mut self, stored: &Stored) {
        self.source.hub.publish(stored);
        self.last = stored.sequence;
        self.seen = self.seen.max(self.last);
    }

    /// Reads back what exists and was not heard. Says why, if it can't be there any more.
    async fn catch_up(&mut self) -> Option<&'static str> {
        if self.last >= self.seen {
            self.retry = None;
            return None;
        }
        if self.retry.is_some_and(|retry| Instant::now() < retry) {
            return None;
        }
        let before = self.last;
        let outcome = self.read_back().await;
        self.source.counters.gaps_healed.inc_by(self.last - before);
        self.retry = None;
        match outcome {
            Ok(()) => self.said = None,
            Err(Trouble::PlaceLost(why)) => return Some(why),
            Err(Trouble::Later(error)) => self.put_off(error),
        }
        None
    }

    fn put_off(&mut self, error: ReadError) {
        let missing = self.seen - self.last;
        self.source.standing.unreadable(&format!("{missing} can't be read back: {error}"));
        self.retry = Some(Instant::now() + RETRY);
        if self.said.as_ref() != Some(&error) {
            warn!(%error, missing, "events that were missed can't be read back yet; trying on");
            self.said = Some(error);
        }
    }

    async fn read_back(&mut self) -> Result<(), Trouble> {
        while self.last < self.seen {
            let connection = self.source.broker.connections();
            let missed = self.read_on().await?;
            self.proved_on = connection;
            // Together, so that one that was undone is not in force between two events.
            self.source.revocations.hear_all(&missed);
            for stride in missed.chunks(STRIDE) {
                for stored in stride {
                    if stored.sequence != self.last + 1 {
                        return Err(Trouble::PlaceLost("what was missed is not kept any more"));
                    }
                    self.accept(stored);
                }
                sleep(PACE).await;
            }
            self.source.standing.handed_on(self.seen - self.last);
        }
        Ok(())
    }

    /// What comes after our place, once that is proved to be in the stream still. It is asked for after what follows it:
    /// a stream that is cut between the two answers shows another event there.
    async fn read_on(&self) -> Result<Vec<Stored>, Trouble> {
        let missed = read_after(&self.source.reader, self.last).await?;
        let named = missed.first().and_then(|next| next.after);
        if self.last > 0 && (named.is_none() || named != self.held_at(self.last)) {
            self.prove_place().await?;
        }
        Ok(missed)
    }

    async fn prove_place(&self) -> Result<(), Trouble> {
        match self.source.reader.at(self.last).await? {
            Some(stored) if Some(decode::fingerprint(&stored)) == self.held_at(self.last) => Ok(()),
            Some(_) => Err(Trouble::PlaceLost("another event is at our place")),
            // A replica that lags behind may lack it, too.
            None if self.source.reader.extent().await?.first > self.last => {
                Err(Trouble::PlaceLost("our place is not kept any more"))
            }
            None => Err(ReadError::Lagging.into()),
        }
    }

    /// Takes a place at the stream's end, with its newest part in memory. Tries until it has one.
    async fn take_place(&mut self) {
        let mut said = None;
        (self.retry, self.said) = (None, None);
        loop {
            let connection = self.source.broker.connections();
            match self.read_newest_part().await {
                Ok((extent, memory)) => {
                    self.proved_on = connection;
                    self.created = extent.created;
                    self.last = memory.last();
                    self.seen = self.last;
                    self.source.hub.take_place(extent.created, memory);
                    self.source.condition.met();
                    self.source.standing.handed_on(0);
                    info!(sequence = self.last, "following the stream");
                    self.warn_of_small_memory(extent);
                    return;
                }
                Err(error) => {
                    self.source.condition.unmet(error.to_string());
                    self.source.standing.unreadable(&error.to_string());
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
            self.source.reader.at(floor).await?.map(|stored| decode::fingerprint(&stored))
        };
        let mut memory = Memory::new(self.source.limits, floor, at_floor);
        while memory.last() < extent.last {
            for stored in read_after(&self.source.reader, memory.last()).await? {
                if stored.sequence > memory.last() + 1 {
                    // The oldest went while we read: begin after it.
                    memory =
                        Memory::new(self.source.limits, stored.sequence - 1, Some(Fingerprint::default()));
                }
                // What is no event was told of when it came.
                let _ = memory.take(extent.created, &stored);
            }
        }
        self.source.revocations.read_back(&self.source.reader).await?;
        Ok((extent, memory))
    }
}

/// Returns at an instant; never, where there is none.
async fn until(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => std::future::pending().await,
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
