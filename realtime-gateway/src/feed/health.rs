//! Whether clients hear of everything: the stream answers, and all that is known to exist was handed on.
//!
//! A short hole is normal and heals by itself. One that lasts is told to operators, by the readiness, and to clients, by
//! `live:degraded`.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use common::event::timestamp;
use common::service::Condition;
use serde::Serialize;
use time::OffsetDateTime;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tracing::{info, warn};

use crate::rooms::hub::Hub;

/// The event that tells clients.
pub(crate) const DEGRADED: &str = "live:degraded";
/// How often it is looked at.
const TICK: Duration = Duration::from_millis(500);

/// How long something may last until clients are told.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// No read of the stream is answered.
    pub(crate) silence: Duration,
    /// Events are known to exist and can't be read.
    pub(crate) gap: Duration,
}

/// Why clients may not hear of everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Reason {
    /// The stream does not answer.
    Unreachable,
    /// Events are missing that can't be read.
    Gap,
}

/// A time in which clients may not hear of everything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Lapse {
    reason: Reason,
    since: String,
}

/// What clients are told at the begin of a lapse and at its end.
#[derive(Debug, Serialize)]
pub(crate) struct Degraded<'a> {
    #[serde(rename = "type")]
    name: &'static str,
    degraded: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<Reason>,
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<&'a str>,
}

impl<'a> Degraded<'a> {
    /// That a lapse goes on, or that there is none any more.
    pub(crate) fn of(lapse: Option<&'a Lapse>) -> Self {
        Self {
            name: DEGRADED,
            degraded: lapse.is_some(),
            reason: lapse.map(|lapse| lapse.reason),
            since: lapse.map(|lapse| &*lapse.since),
        }
    }
}

/// What following the stream has come to.
pub(crate) struct Standing {
    patience: Patience,
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

impl Standing {
    /// All is well until something else is heard.
    pub(crate) fn new(patience: Patience) -> Self {
        Self { patience, signs: Mutex::new(Signs { answered: Instant::now(), behind: None }) }
    }

    /// Notes that the stream answered, and how many events it has that were not handed on yet.
    pub(crate) fn answered(&self, missing: u64) {
        let mut signs = self.signs();
        signs.answered = Instant::now();
        if missing == 0 {
            signs.behind = None;
        } else {
            signs.fall_behind(|| format!("{missing} are to be read back"));
        }
    }

    /// Notes that missing events were handed on: a long gap that is being filled is none that can't be.
    pub(crate) fn handed_on(&self, missing: u64) {
        self.signs().behind = None;
        self.answered(missing);
    }

    /// Notes that what is missing can't be read.
    pub(crate) fn unreadable(&self, why: &str) {
        let mut signs = self.signs();
        signs.fall_behind(|| why.to_owned());
        if let Some(behind) = &mut signs.behind
            && behind.why != why
        {
            behind.why = why.to_owned();
        }
    }

    /// The lapse as it is now: its reason, the moment it began, and the reason in words for the log. A lapse that has
    /// begun goes on until everything was handed on.
    fn lapse(&self, now: Instant, in_lapse: bool) -> Option<(Reason, Instant, String)> {
        let signs = self.signs();
        let Patience { silence, gap } = self.patience;
        if let Some(Behind { since, why }) = &signs.behind
            && (in_lapse || now.duration_since(*since) >= gap)
        {
            return Some((Reason::Gap, *since, why.clone()));
        }
        let is_silent = now.duration_since(signs.answered) >= silence;
        is_silent.then(|| (Reason::Unreachable, signs.answered, "the stream does not answer".into()))
    }

    /// Whether something is known to exist that was not handed on yet.
    pub(crate) fn is_behind(&self) -> bool {
        self.signs().behind.is_some()
    }

    /// Whether that is so for so long that the gateway is not ready.
    pub(crate) fn has_gap(&self) -> bool {
        self.gap(Instant::now()).is_some()
    }

    /// What is missing for so long, in words.
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

/// Tells operators and clients, until it is dropped.
pub(crate) async fn watch(standing: Arc<Standing>, hub: Arc<Hub>, condition: Condition) {
    let mut tick = interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut lapse: Option<Lapse> = None;
    loop {
        tick.tick().await;
        let now = Instant::now();
        match standing.gap(now) {
            Some(why) => condition.unmet(format!("events are missing: {why}")),
            None => condition.met(),
        }
        match (standing.lapse(now, lapse.is_some()), &lapse) {
            (Some((reason, since, why)), None) => {
                warn!(?reason, why, "clients may not hear of everything, and are told so");
                let since = timestamp::to_text(OffsetDateTime::now_utc() - now.duration_since(since));
                lapse = Some(Lapse { reason, since });
            }
            (None, Some(_)) => {
                info!("clients hear of everything again");
                lapse = None;
            }
            // What began as one may go on as the other.
            (Some((reason, ..)), Some(begun)) => lapse = Some(Lapse { reason, ..begun.clone() }),
            (None, None) => {}
        }
        hub.tell(lapse.as_ref());
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn standing() -> Standing {
        Standing::new(Patience { silence: 10 * SECOND, gap: 30 * SECOND })
    }

    fn reason(standing: &Standing, in_lapse: bool) -> Option<Reason> {
        standing.lapse(Instant::now(), in_lapse).map(|(reason, ..)| reason)
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_that_does_not_answer_is_told_of_after_its_time_and_is_no_gap() {
        let standing = standing();
        advance(9 * SECOND).await;
        assert_eq!(reason(&standing, false), None);
        advance(SECOND).await;
        assert_eq!(reason(&standing, false), Some(Reason::Unreachable));
        assert_eq!(standing.gap(Instant::now()), None);
        standing.answered(0);
        assert_eq!(reason(&standing, true), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_gap_is_told_of_after_its_time_and_a_lapse_ends_only_with_the_gap() {
        let standing = standing();
        standing.answered(3);
        for _ in 0..29 {
            advance(SECOND).await;
            standing.answered(3);
        }
        assert_eq!((reason(&standing, false), reason(&standing, true)), (None, Some(Reason::Gap)));
        standing.unreadable("nobody answers");
        advance(SECOND).await;
        assert_eq!(reason(&standing, false), Some(Reason::Gap));
        assert_eq!(standing.gap(Instant::now()).as_deref(), Some("nobody answers"));
        standing.answered(0);
        assert_eq!((reason(&standing, true), standing.gap(Instant::now())), (None, None));
    }

    #[test]
    fn what_clients_are_told_is_its_golden_file() {
        let golden: serde_json::Value =
            serde_json::from_str(include_str!("../../golden/degraded.json")).unwrap();
        let lapse = Lapse { reason: Reason::Gap, since: "2026-11-22T20:15:31.123Z".into() };
        for (number, lapse) in [Some(&lapse), None].into_iter().enumerate() {
            assert_eq!(golden[number]["name"], DEGRADED);
            assert_eq!(golden[number]["body"], serde_json::to_value(Degraded::of(lapse)).unwrap());
        }
    }
}
