//! Whether clients get all events: the stream answers, and every event that is known to exist was published.
//!
//! A short gap is normal and closes by itself. A long one makes the gateway not ready, and clients are told by
//! `live:degraded`.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use common::event::timestamp;
use common::service::Condition;
use time::OffsetDateTime;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tracing::{info, warn};

use crate::events::{Cause, Degradation};
use crate::feed::gauges::FeedGauges;
use crate::rooms::Hub;
use crate::settings::PatienceOptions;

/// Between two checks.
const TICK: Duration = Duration::from_millis(500);

/// How long something may last until clients are told.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// No read of the stream is answered.
    pub(crate) silence: Duration,
    /// Events are missing that can't be read.
    pub(crate) gap: Duration,
}

impl From<&PatienceOptions> for Patience {
    fn from(options: &PatienceOptions) -> Self {
        Self {
            silence: Duration::from_millis(options.stream_silence),
            gap: Duration::from_millis(options.stream_gap),
        }
    }
}

/// What the follower has found out about the stream.
pub(crate) struct FeedHealth {
    patience: Patience,
    gauges: FeedGauges,
    signs: Mutex<Signs>,
}

struct Signs {
    answered: Instant,
    behind: Option<Behind>,
}

#[derive(Clone)]
struct Behind {
    since: Instant,
    why: String,
}

impl FeedHealth {
    /// Healthy until something else is noted. A gauge shows how many events are missing.
    pub(crate) fn new(patience: Patience, gauges: FeedGauges) -> Self {
        Self { patience, gauges, signs: Mutex::new(Signs { answered: Instant::now(), behind: None }) }
    }

    /// Notes that the stream answered, and how many of its events were not published yet.
    pub(crate) fn answered(&self, missing: u64) {
        self.gauges.behind(missing);
        let mut signs = self.signs();
        signs.answered = Instant::now();
        if missing == 0 {
            signs.behind = None;
        } else {
            signs.fall_behind(|| format!("{missing} are being read"));
        }
    }

    /// Notes that missing events were published. The time of a gap begins anew: it is being closed.
    pub(crate) fn published(&self, missing: u64) {
        self.signs().behind = None;
        self.answered(missing);
    }

    /// Notes that missing events can't be read.
    pub(crate) fn unreadable(&self, why: &str) {
        let mut signs = self.signs();
        signs.fall_behind(|| why.to_owned());
        if let Some(behind) = &mut signs.behind
            && behind.why != why
        {
            behind.why = why.to_owned();
        }
    }

    /// The current cause of a degradation, since when it lasts, and words for the log. A degradation that has begun
    /// ends only when everything was published.
    fn degraded(&self, now: Instant, has_begun: bool) -> Option<(Cause, Instant, String)> {
        let signs = self.signs();
        let Patience { silence, gap } = self.patience;
        if let Some(Behind { since, why }) = &signs.behind
            && (has_begun || now.duration_since(*since) >= gap)
        {
            return Some((Cause::Gap, *since, why.clone()));
        }
        let is_silent = now.duration_since(signs.answered) >= silence;
        is_silent.then(|| (Cause::Unreachable, signs.answered, "the stream does not answer".into()))
    }

    /// Whether an event is known to exist that was not published yet.
    pub(crate) fn is_behind(&self) -> bool {
        self.signs().behind.is_some()
    }

    /// Whether this lasts so long that the gateway is not ready.
    pub(crate) fn has_gap(&self) -> bool {
        self.gap(Instant::now()).is_some()
    }

    /// Describes a gap that lasts so long.
    fn gap(&self, now: Instant) -> Option<String> {
        let signs = self.signs();
        let behind = signs.behind.as_ref()?;
        (now.duration_since(behind.since) >= self.patience.gap).then(|| behind.why.clone())
    }

    fn signs(&self) -> MutexGuard<'_, Signs> {
        self.signs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Signs {
    fn fall_behind(&mut self, why: impl FnOnce() -> String) {
        self.behind.get_or_insert_with(|| Behind { since: Instant::now(), why: why() });
    }
}

/// Keeps the readiness and the clients informed, until it is dropped.
pub(crate) async fn watch(health: Arc<FeedHealth>, hub: Arc<Hub>, condition: Condition) {
    let mut tick = interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut degradation: Option<Degradation> = None;
    loop {
        tick.tick().await;
        let now = Instant::now();
        match health.gap(now) {
            Some(why) => condition.unmet(format!("events are missing: {why}")),
            None => condition.met(),
        }
        match (health.degraded(now, degradation.is_some()), &degradation) {
            (Some((cause, since, why)), None) => {
                warn!(reason = ?cause, why, "events may be late; clients are told");
                let since = timestamp::to_text(OffsetDateTime::now_utc() - now.duration_since(since));
                degradation = Some(Degradation { cause, since });
            }
            (None, Some(_)) => {
                info!("events are on time again; clients are told");
                degradation = None;
            }
            // The cause may change meanwhile.
            (Some((cause, ..)), Some(begun)) => {
                degradation = Some(Degradation { cause, ..begun.clone() });
            }
            (None, None) => {}
        }
        hub.tell_degraded(degradation.as_ref());
    }
}

#[cfg(test)]
mod tests {
    use common::telemetry::Metrics;
    use tokio::time::advance;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn health() -> FeedHealth {
        let patience = Patience { silence: 10 * SECOND, gap: 30 * SECOND };
        FeedHealth::new(patience, FeedGauges::new(&Metrics::default()))
    }

    fn cause(health: &FeedHealth, has_begun: bool) -> Option<Cause> {
        health.degraded(Instant::now(), has_begun).map(|(cause, ..)| cause)
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_stream_degrades_after_its_time_and_is_no_gap() {
        let health = health();
        advance(9 * SECOND).await;
        assert_eq!(cause(&health, false), None);
        advance(SECOND).await;
        assert_eq!(cause(&health, false), Some(Cause::Unreachable));
        assert_eq!(health.gap(Instant::now()), None);
        health.answered(0);
        assert_eq!(cause(&health, true), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_gap_degrades_after_its_time_and_the_degradation_ends_only_with_the_gap() {
        let health = health();
        health.answered(3);
        for _ in 0..29 {
            advance(SECOND).await;
            health.answered(3);
        }
        assert_eq!((cause(&health, false), cause(&health, true)), (None, Some(Cause::Gap)));
        health.unreadable("nobody answers");
        advance(SECOND).await;
        assert_eq!(cause(&health, false), Some(Cause::Gap));
        assert_eq!(health.gap(Instant::now()).as_deref(), Some("nobody answers"));
        health.answered(0);
        assert_eq!((cause(&health, true), health.gap(Instant::now())), (None, None));
    }
}
