//! Whether anything may be sent at all: pauses while Telnyx is in trouble, can't be reached or refuses our key.
//!
//! A pause grows with each setback in a row, and after one a single message is sent to try, so that an outage costs
//! few messages their certainty. One that is answered properly ends it. What holds for one sender alone is no pause:
//! the store keeps its pace.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prometheus_client::metrics::gauge::Gauge;
use tokio::time::Instant;

/// The first pause.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// The longest pause of our own; Telnyx may ask for a longer one.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// So many answers in a row that leave it open whether Telnyx accepted are taken for an outage.
const UNRESOLVED_IN_A_ROW: u32 = 3;

/// Why nothing is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    /// Telnyx refuses our API key.
    KeyRefused,
    /// No connection comes about.
    Unreachable,
    /// Telnyx leaves it open whether it accepts.
    Unresolved,
}

impl Cause {
    /// For operators: what happened, and what to do.
    pub(super) fn text(self) -> &'static str {
        match self {
            Self::KeyRefused => "Telnyx refuses the API key; nothing is sent; check TELNYX_API_KEY",
            Self::Unreachable => {
                "Telnyx can't be reached; nothing is sent; check TELNYX_BASE_URL and the network"
            }
            Self::Unresolved => "Telnyx does not say whether it accepts; one message at a time tries",
        }
    }
}

/// The pauses of one dispatcher.
pub(super) struct Pause {
    trouble: Mutex<Trouble>,
    paused: Gauge,
}

#[derive(Default)]
struct Trouble {
    cause: Option<Cause>,
    /// Nothing is sent before.
    until: Option<Instant>,
    /// Pauses in a row.
    setbacks: u32,
    /// Unresolved answers in a row.
    unresolved: u32,
    /// When the last setback was noted: what was posted before tells nothing new.
    noted_at: Option<Instant>,
}

/// Growing and capped: 250 ms, 500 ms and so on to 30 s.
fn back_off(setbacks: u32) -> Duration {
    FIRST_PAUSE.saturating_mul(1 << setbacks.min(16)).min(LONGEST_PAUSE)
}

impl Pause {
    pub(super) fn new(paused: Gauge) -> Self {
        Self { trouble: Mutex::default(), paused }
    }

    /// Waits until something may be sent. Safe to cancel.
    pub(super) async fn over(&self) {
        while let Some(until) = self.until() {
            tokio::time::sleep_until(until).await;
        }
    }

    /// Whether only one message may be on its way, to try.
    pub(super) fn is_trying(&self) -> bool {
        self.lock().setbacks > 0
    }

    /// Why nothing but a message that tries is sent, if so.
    pub(super) fn cause(&self) -> Option<Cause> {
        let trouble = self.lock();
        trouble.cause.filter(|_| trouble.setbacks > 0)
    }

    /// Telnyx answered properly.
    pub(super) fn answered(&self) {
        let mut trouble = self.lock();
        if trouble.until.is_none_or(|until| until <= Instant::now()) {
            *trouble = Trouble::default();
            self.paused.set(0);
        }
        trouble.unresolved = 0;
    }

    /// Nobody knows what became of a message posted at `posted_at`. Several in a row are an outage.
    pub(super) fn unresolved(&self, posted_at: Instant) {
        let is_outage = {
            let mut trouble = self.lock();
            trouble.unresolved += 1;
            trouble.unresolved >= UNRESOLVED_IN_A_ROW || trouble.setbacks > 0
        };
        if is_outage {
            self.set_back(Cause::Unresolved, posted_at, None);
        }
    }

    /// Telnyx did not take a message posted at `posted_at`, for a reason that holds for every message. Returns how
    /// long nothing is sent.
    pub(super) fn set_back(&self, cause: Cause, posted_at: Instant, asked: Option<Duration>) -> Duration {
        let mut trouble = self.lock();
        let now = Instant::now();
        let is_news = trouble.noted_at.is_none_or(|noted_at| posted_at > noted_at);
        if is_news {
            let pause = back_off(trouble.setbacks);
            trouble.setbacks = trouble.setbacks.saturating_add(1);
            trouble.noted_at = Some(now);
            trouble.until = trouble.until.max(Some(now + pause));
        }
        if let Some(asked) = asked {
            trouble.until = trouble.until.max(Some(now + asked));
        }
        trouble.cause = Some(cause);
        self.paused.set(1);
        trouble.until.map_or(Duration::ZERO, |until| until.saturating_duration_since(now))
    }

    fn until(&self) -> Option<Instant> {
        self.lock().until.filter(|until| *until > Instant::now())
    }

    fn lock(&self) -> MutexGuard<'_, Trouble> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pause() -> Pause {
        Pause::new(Gauge::default())
    }

    #[test]
    fn pauses_grow_and_are_capped() {
        assert_eq!([0, 1, 2].map(back_off).map(|pause| pause.as_millis()), [250, 500, 1_000]);
        assert_eq!(back_off(u32::MAX), LONGEST_PAUSE);
    }

    #[tokio::test(start_paused = true)]
    async fn messages_that_were_on_their_way_together_are_one_setback() {
        let (pause, together) = (pause(), Instant::now());
        let first = pause.set_back(Cause::Unreachable, together, None);
        tokio::time::advance(Duration::from_millis(10)).await;
        assert!(pause.set_back(Cause::Unreachable, together, None) < first);
        tokio::time::advance(first).await;
        assert_eq!(pause.set_back(Cause::Unreachable, Instant::now(), None), back_off(1));
    }

    #[tokio::test(start_paused = true)]
    async fn the_wait_that_telnyx_asks_for_is_kept() {
        let (pause, start) = (pause(), Instant::now());
        let asked = Duration::from_secs(40);
        assert_eq!(pause.set_back(Cause::KeyRefused, start, Some(asked)), asked);
        pause.over().await;
        assert!(start.elapsed() >= asked);
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_pause_one_message_is_tried_until_one_is_answered() {
        let pause = pause();
        assert!(!pause.is_trying());
        pause.set_back(Cause::KeyRefused, Instant::now(), None);
        pause.over().await;
        assert!(pause.is_trying());
        assert_eq!(pause.cause(), Some(Cause::KeyRefused));
        pause.answered();
        assert!(!pause.is_trying());
        assert_eq!(pause.cause(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn unresolved_answers_in_a_row_pause_and_a_single_one_does_not() {
        let pause = pause();
        for _ in 0..10 {
            pause.unresolved(Instant::now());
            pause.unresolved(Instant::now());
            pause.answered();
        }
        assert_eq!(pause.until(), None);
        for _ in 0..3 {
            pause.unresolved(Instant::now());
        }
        assert!(pause.until().is_some());
    }
}
