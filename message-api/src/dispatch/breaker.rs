//! A circuit breaker for all sending: it opens while Telnyx can't be reached, refuses the API key or leaves it open
//! whether it accepts.
//!
//! Each failure in a row keeps it open longer. Then it is half open: one message tries, so that an outage leaves few
//! messages unresolved. A proper answer closes it. What concerns one sender alone does not open it; the store delays
//! that sender.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prometheus_client::metrics::gauge::Gauge;
use tokio::time::Instant;

/// How long it stays open the first time.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// The longest that it stays open by itself; Telnyx may ask for longer.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// Unresolved answers in a row that count as an outage.
const UNRESOLVED_IN_A_ROW: u32 = 3;

/// Why it is open.
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

/// The breaker of one dispatcher.
pub(super) struct CircuitBreaker {
    state: Mutex<State>,
    paused: Gauge,
}

#[derive(Default)]
struct State {
    cause: Option<Cause>,
    /// Open until then.
    until: Option<Instant>,
    /// Times in a row that it opened.
    trips: u32,
    /// Unresolved answers in a row.
    unresolved: u32,
    /// When it opened last. A message posted before brings no news.
    tripped_at: Option<Instant>,
}

/// 250 ms, 500 ms and so on to 30 s.
fn back_off(trips: u32) -> Duration {
    FIRST_PAUSE.saturating_mul(1 << trips.min(16)).min(LONGEST_PAUSE)
}

impl CircuitBreaker {
    pub(super) fn new(paused: Gauge) -> Self {
        Self { state: Mutex::default(), paused }
    }

    /// Waits until it is not open. Safe to cancel.
    pub(super) async fn closed_or_half_open(&self) {
        while let Some(until) = self.open_until() {
            tokio::time::sleep_until(until).await;
        }
    }

    /// Whether it has opened and no proper answer came since: one message at a time may try.
    pub(super) fn is_half_open(&self) -> bool {
        self.lock().trips > 0
    }

    /// Why it is open or half open.
    pub(super) fn cause(&self) -> Option<Cause> {
        let state = self.lock();
        state.cause.filter(|_| state.trips > 0)
    }

    /// Telnyx answered properly. Closes a half-open breaker; an answer that comes while it is open is from before.
    pub(super) fn succeeded(&self) {
        let mut state = self.lock();
        if state.until.is_none_or(|until| until <= Instant::now()) {
            *state = State::default();
            self.paused.set(0);
        }
        state.unresolved = 0;
    }

    /// It is unknown whether Telnyx accepted a message posted at `posted_at`. Several in a row open the breaker.
    pub(super) fn note_unresolved(&self, posted_at: Instant) {
        let is_outage = {
            let mut state = self.lock();
            state.unresolved += 1;
            state.unresolved >= UNRESOLVED_IN_A_ROW || state.trips > 0
        };
        if is_outage {
            self.trip(Cause::Unresolved, posted_at, None);
        }
    }

    /// Opens: Telnyx did not accept a message posted at `posted_at`, for a reason that concerns all. `retry_after` is
    /// the wait that Telnyx asks for. Returns how long the breaker stays open.
    pub(super) fn trip(&self, cause: Cause, posted_at: Instant, retry_after: Option<Duration>) -> Duration {
        let mut state = self.lock();
        let now = Instant::now();
        if state.tripped_at.is_none_or(|tripped_at| posted_at > tripped_at) {
            let pause = back_off(state.trips);
            state.trips = state.trips.saturating_add(1);
            state.tripped_at = Some(now);
            state.until = state.until.max(Some(now + pause));
        }
        if let Some(retry_after) = retry_after {
            state.until = state.until.max(Some(now + retry_after));
        }
        state.cause = Some(cause);
        self.paused.set(1);
        state.until.map_or(Duration::ZERO, |until| until.saturating_duration_since(now))
    }

    fn open_until(&self) -> Option<Instant> {
        self.lock().until.filter(|until| *until > Instant::now())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn breaker() -> CircuitBreaker {
        CircuitBreaker::new(Gauge::default())
    }

    #[test]
    fn pauses_grow_and_are_capped() {
        assert_eq!([0, 1, 2].map(back_off).map(|pause| pause.as_millis()), [250, 500, 1_000]);
        assert_eq!(back_off(u32::MAX), LONGEST_PAUSE);
    }

    #[tokio::test(start_paused = true)]
    async fn messages_posted_together_open_it_once() {
        let (breaker, together) = (breaker(), Instant::now());
        let first = breaker.trip(Cause::Unreachable, together, None);
        tokio::time::advance(Duration::from_millis(10)).await;
        assert!(breaker.trip(Cause::Unreachable, together, None) < first);
        tokio::time::advance(first).await;
        assert_eq!(breaker.trip(Cause::Unreachable, Instant::now(), None), back_off(1));
    }

    #[tokio::test(start_paused = true)]
    async fn it_stays_open_as_long_as_telnyx_asks() {
        let (breaker, start) = (breaker(), Instant::now());
        let asked = Duration::from_secs(40);
        assert_eq!(breaker.trip(Cause::KeyRefused, start, Some(asked)), asked);
        breaker.closed_or_half_open().await;
        assert!(start.elapsed() >= asked);
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_half_open_until_one_message_is_answered() {
        let breaker = breaker();
        assert!(!breaker.is_half_open());
        breaker.trip(Cause::KeyRefused, Instant::now(), None);
        breaker.closed_or_half_open().await;
        assert!(breaker.is_half_open());
        assert_eq!(breaker.cause(), Some(Cause::KeyRefused));
        breaker.succeeded();
        assert!(!breaker.is_half_open());
        assert_eq!(breaker.cause(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn unresolved_answers_open_it_only_in_a_row() {
        let breaker = breaker();
        for _ in 0..10 {
            breaker.note_unresolved(Instant::now());
            breaker.note_unresolved(Instant::now());
            breaker.succeeded();
        }
        assert_eq!(breaker.open_until(), None);
        for _ in 0..3 {
            breaker.note_unresolved(Instant::now());
        }
        assert!(breaker.open_until().is_some());
    }
}
