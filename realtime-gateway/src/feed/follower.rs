//! Follows the stream: publishes every sequence once, in order, without a hole.
//!
//! The stream republishes what it has stored, together with the sequence. Sequences rise by exactly one, so a missing
//! message shows at once, and is read by direct get.
//!
//! A stream that was truncated and has grown again has the same sequences and other events. So each step is proved in
//! one of three ways: the next event names the one before it; or it came over the connection on which our position was
//! proved; or it was read together with the message at our position.

use async_nats::{Message, Subscriber};
use common::subject::LIVE;
use common::throttle::Throttle;
use futures_util::StreamExt as _;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::events::decode;
use crate::feed::leader::{self, Observation};
use crate::feed::source::{RETRY, Source};
use crate::rooms::{PACE, STRIDE};
use crate::stream::{Extent, Fingerprint, MESSAGES_OF_AN_OPERATION, Position, ReadError, Stored};

/// Follows the stream until the shutdown.
///
/// # Errors
/// The broker connection can't subscribe.
pub(crate) async fn follow(source: Source, shutdown: CancellationToken) -> anyhow::Result<()> {
    let republished = source.broker.client().subscribe(LIVE).await?;
    let (observed, observations) = mpsc::channel(1);
    let watch = leader::watch(source.broker.clone(), source.reader.clone(), source.hub.clone(), observed);
    let follower = Follower {
        source,
        created: 0,
        last: 0,
        seen: 0,
        proved_on: 0,
        retry: None,
        throttle: Throttle::once_a_minute(),
    };
    tokio::select! {
        () = shutdown.cancelled() => {}
        () = watch => {}
        () = follower.run(republished, observations) => {}
    }
    Ok(())
}

struct Follower {
    source: Source,
    created: u64,
    /// The last sequence that was published.
    last: u64,
    /// The last sequence that is known to exist.
    seen: u64,
    /// The connection on which the last message was proved to be in the stream.
    proved_on: u64,
    /// When to read a gap again after a failure.
    retry: Option<Instant>,
    throttle: Throttle,
}

/// Why a gap was not closed.
enum ReadBackError {
    /// The read may work later.
    Later(ReadError),
    /// The stream does not contain our position any more.
    PositionLost(&'static str),
}

impl From<ReadError> for ReadBackError {
    fn from(error: ReadError) -> Self {
        Self::Later(error)
    }
}

impl Follower {
    async fn run(mut self, mut republished: Subscriber, mut observations: mpsc::Receiver<Observation>) {
        self.begin().await;
        loop {
            let lost = tokio::select! {
                // Messages come first: one that only waits here must not count as missing.
                biased;
                message = republished.next() => match message {
                    Some(message) => self.on_message(message),
                    None => return,
                },
                observation = observations.recv() => match observation {
                    Some(observation) => self.on_observation(observation),
                    None => return,
                },
                () = until(self.retry) => None,
            };
            let lost = match lost {
                Some(why) => Some(why),
                None => self.close_gap().await,
            };
            if let Some(why) = lost {
                self.source.counters.discontinuities.inc();
                if let Some(held_back) = self.throttle.opens(why) {
                    warn!(why, held_back, "the stream is another one; clients are told to load anew");
                }
                self.begin().await;
            }
        }
    }

    /// Handles a republished message. Returns why, if it shows that the stream is another one.
    fn on_message(&mut self, message: Message) -> Option<&'static str> {
        let stored = Stored::republished(message)?;
        // A gap does not delay revocations.
        self.source.revocations.apply(&stored);
        if stored.sequence == self.last + 1 && self.follows(&stored) {
            self.publish(&stored);
        } else if stored.sequence > self.last {
            self.seen = self.seen.max(stored.sequence);
        } else if let Some(held) = self.held_at(stored.sequence)
            && held != decode::fingerprint(&stored)
        {
            return Some("a sequence that was published before has another event");
        }
        None
    }

    /// Whether a message is proved to come right after our position. If not, it is read.
    fn follows(&self, next: &Stored) -> bool {
        match next.after {
            Some(before) => self.held_at(self.last) == Some(before),
            None => self.proved_on == self.source.broker.connections(),
        }
    }

    fn held_at(&self, sequence: u64) -> Option<Fingerprint> {
        self.source.hub.fingerprint(sequence)
    }

    /// Handles an answer of the leader. Returns why, if it shows that the stream is another one.
    fn on_observation(&mut self, observation: Observation) -> Option<&'static str> {
        match observation.extent {
            Ok(_) if observation.is_another && self.still_at(observation.position) => {
                Some("it was created anew or lost its end")
            }
            // The answer is about another stream, from before this position.
            Ok(extent) if extent.created != self.created => None,
            Ok(extent) => {
                self.source.condition.met();
                self.source.gauges.replicas(extent.replicas);
                self.seen = self.last.max(extent.last);
                self.source.health.answered(self.seen - self.last);
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

    /// Whether an observed position is in the stream that we follow now.
    fn still_at(&self, position: Option<Position>) -> bool {
        position.is_some_and(|position| {
            position.created == self.created && self.held_at(position.sequence) == Some(position.fingerprint)
        })
    }

    fn publish(&mut self, stored: &Stored) {
        self.source.hub.publish(stored);
        self.source.gauges.at(stored.sequence);
        self.last = stored.sequence;
        self.seen = self.seen.max(self.last);
    }

    /// Reads and publishes messages that exist and were not heard. Returns why, if the stream is another one.
    async fn close_gap(&mut self) -> Option<&'static str> {
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
            Ok(()) => {}
            Err(ReadBackError::PositionLost(why)) => return Some(why),
            Err(ReadBackError::Later(error)) => self.retry_later(&error),
        }
        None
    }

    fn retry_later(&mut self, error: &ReadError) {
        let missing = self.seen - self.last;
        self.source.health.unreadable(&format!("{missing} can't be read: {error}"));
        self.retry = Some(Instant::now() + RETRY);
        if let Some(held_back) = self.throttle.opens("missed events") {
            warn!(%error, missing, held_back, "missed events can't be read yet; trying again");
        }
    }

    async fn read_back(&mut self) -> Result<(), ReadBackError> {
        while self.last < self.seen {
            let connection = self.source.broker.connections();
            let missed = self.read_proved().await?;
            self.proved_on = connection;
            // All at once, so that a revocation that is undone among them never takes effect.
            self.source.revocations.apply_all(&missed);
            for stride in missed.chunks(STRIDE) {
                for stored in stride {
                    if stored.sequence != self.last + 1 {
                        return Err(ReadBackError::PositionLost("missed messages are not kept any more"));
                    }
                    self.publish(stored);
                }
                sleep(PACE).await;
            }
            self.source.health.published(self.seen - self.last);
        }
        Ok(())
    }

    /// Reads what comes after our position, and then proves that the stream contains our position. In this order,
    /// because a stream that is truncated between the two reads has another message there.
    async fn read_proved(&self) -> Result<Vec<Stored>, ReadBackError> {
        let missed = self.source.read_after(self.last).await?;
        let named = missed.first().and_then(|next| next.after);
        if self.last > 0 && (named.is_none() || named != self.held_at(self.last)) {
            self.prove_position().await?;
        }
        Ok(missed)
    }

    async fn prove_position(&self) -> Result<(), ReadBackError> {
        match self.source.reader.at(self.last).await? {
            Some(stored) if Some(decode::fingerprint(&stored)) == self.held_at(self.last) => Ok(()),
            Some(_) => Err(ReadBackError::PositionLost("another message is at our position")),
            // A replica that lags may lack it, too.
            None if self.source.reader.extent().await?.first > self.last => {
                Err(ReadBackError::PositionLost("our position is not kept any more"))
            }
            None => Err(ReadError::Lagging.into()),
        }
    }

    /// Begins at the stream's end, with its newest part in memory. Tries until it works.
    async fn begin(&mut self) {
        self.retry = None;
        loop {
            let connection = self.source.broker.connections();
            match self.source.read_newest_part().await {
                Ok((extent, recent)) => {
                    self.proved_on = connection;
                    self.created = extent.created;
                    self.last = recent.last();
                    self.seen = self.last;
                    self.source.hub.begin_at(recent);
                    self.source.gauges.at(self.last);
                    self.source.condition.met();
                    self.source.health.published(0);
                    info!(sequence = self.last, "following the stream");
                    self.warn_of_small_memory(extent);
                    return;
                }
                Err(error) => {
                    self.source.condition.unmet(error.to_string());
                    self.source.health.unreadable(&error.to_string());
                    self.warn_without_position(&error);
                    sleep(RETRY).await;
                }
            }
        }
    }

    /// While the connection is down, that was logged already.
    fn warn_without_position(&self, error: &ReadError) {
        if self.source.broker.link().borrow().up
            && let Some(held_back) = self.throttle.opens("no position")
        {
            warn!(%error, held_back, "the gateway has no position in the stream yet; trying again");
        }
    }

    /// A replica can't prove anything about the stream's newest messages, so memory has to hold them.
    fn warn_of_small_memory(&self, extent: Extent) {
        let kept = self.source.limits.events.min(self.source.limits.church_events) as u64;
        if extent.lag.is_some()
            && kept < MESSAGES_OF_AN_OPERATION
            && self.throttle.opens("small memory").is_some()
        {
            warn!(
                kept,
                needed = MESSAGES_OF_AN_OPERATION,
                "GATEWAY_MEMORY_EVENTS or GATEWAY_MEMORY_CHURCH_EVENTS is too small for a replicated stream: clients \
                 that were away have to load anew"
            );
        }
    }
}

/// Returns at an instant; never, if there is none.
async fn until(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => std::future::pending().await,
    }
}
