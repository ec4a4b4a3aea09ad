//! How fast we may send now: the configured rate, and pauses while Telnyx is in trouble or asks for them.
//!
//! A pause grows with each setback in a row, and after one a single message is sent to try, so that an outage costs
//! few messages their certainty. One that is answered properly ends it.

use std::num::NonZeroU32;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use prometheus_client::metrics::gauge::Gauge;
use tokio::time::Instant;

/// The first pause.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// The longest pause of our own; Telnyx may ask for a longer one.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// So many answers in a row that leave it open whether Telnyx accepted are taken for an outage.
const UNRESOLVED_IN_A_ROW: u32 = 3;

/// Growing and capped: 250 ms, 500 ms and so on to 30 s.
pub(super) fn back_off(setbacks: u32) -> Duration {
    FIRST_PAUSE.saturating_mul(1 << setbacks.min(16)).min(LONGEST_PAUSE)
}

/// The pace of one dispatcher.
pub(super) struct Pace {
    limiter: DefaultDirectRateLimiter,
    clock: DefaultClock,
    /// Taken from the limiter at once, so that a claim is worth its transaction.
    burst: NonZeroU32,
    trouble: Mutex<Trouble>,
    paused: Gauge,
}

#[derive(Default)]
struct Trouble {
    /// Nothing is sent before.
    until: Option<Instant>,
    /// Pauses in a row.
    setbacks: u32,
    /// Unresolved answers in a row.
    unresolved: u32,
    /// When the last setback was noted: what was posted before tells nothing new.
    noted_at: Option<Instant>,
}

impl Pace {
    pub(super) fn new(rate: u32, paused: Gauge) -> Self {
        let rate = NonZeroU32::new(rate).unwrap_or(NonZeroU32::MIN);
        let burst = NonZeroU32::new(rate.get() / 10).unwrap_or(NonZeroU32::MIN);
        let clock = DefaultClock::default();
        let limiter =
            RateLimiter::direct_with_clock(Quota::per_second(rate).allow_burst(burst), clock.clone());
        Self { limiter, clock, burst, trouble: Mutex::default(), paused }
    }

    /// Waits until something may be sent; returns how many at once, between 1 and `most`. Safe to cancel.
    pub(super) async fn ready(&self, most: usize) -> usize {
        let mut wanted = u32::try_from(most).unwrap_or(u32::MAX).clamp(1, self.burst.get());
        while let Some(until) = self.paused_until() {
            tokio::time::sleep_until(until).await;
        }
        if self.lock().setbacks > 0 {
            wanted = 1;
        }
        let wanted = NonZeroU32::new(wanted).unwrap_or(NonZeroU32::MIN);
        // Never more than the burst, so the limiter never calls it impossible.
        while let Ok(Err(not_yet)) = self.limiter.check_n(wanted) {
            tokio::time::sleep(not_yet.wait_time_from(self.clock.now())).await;
        }
        wanted.get() as usize
    }

    /// Whether only one message may be on its way, to try.
    pub(super) fn is_trying(&self) -> bool {
        self.lock().setbacks > 0
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
            self.set_back(posted_at, None);
        }
    }

    /// Telnyx did not take a message posted at `posted_at`, for a reason that holds for every message. Returns how
    /// long nothing is sent.
    pub(super) fn set_back(&self, posted_at: Instant, asked: Option<Duration>) -> Duration {
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
        self.paused.set(1);
        trouble.until.map_or(Duration::ZERO, |until| until.saturating_duration_since(now))
    }

    fn paused_until(&self) -> Option<Instant> {
        self.lock().until.filter(|until| *until > Instant::now())
    }

    fn lock(&self) -> MutexGuard<'_, Trouble> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pace(rate: u32) -> Pace {
        Pace::new(rate, Gauge::default())
    }

    #[test]
    fn pauses_grow_and_are_capped() {
        assert_eq!([0, 1, 2].map(back_off).map(|pause| pause.as_millis()), [250, 500, 1_000]);
        assert_eq!(back_off(u32::MAX), LONGEST_PAUSE);
    }

    #[tokio::test(start_paused = true)]
    async fn messages_that_were_on_their_way_together_are_one_setback() {
        let pace = pace(1_000);
        let together = Instant::now();
        let first = pace.set_back(together, None);
        tokio::time::advance(Duration::from_millis(10)).await;
        assert!(pace.set_back(together, None) < first);
        tokio::time::advance(first).await;
        assert_eq!(pace.set_back(Instant::now(), None), back_off(1));
    }

    #[tokio::test(start_paused = true)]
    async fn the_wait_that_telnyx_asks_for_is_kept() {
        let pace = pace(1_000);
        let start = Instant::now();
        assert_eq!(pace.set_back(start, Some(Duration::from_secs(40))), Duration::from_secs(40));
        pace.ready(16).await;
        assert!(start.elapsed() >= Duration::from_secs(40));
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_pause_one_message_is_tried_until_one_is_answered() {
        let pace = pace(1_000);
        assert_eq!(pace.ready(16).await, 16);
        pace.set_back(Instant::now(), None);
        assert_eq!(pace.ready(16).await, 1);
        assert!(pace.is_trying());
        pace.answered();
        assert!(!pace.is_trying());
    }

    #[tokio::test(start_paused = true)]
    async fn unresolved_answers_in_a_row_pause_and_a_single_one_does_not() {
        let pace = pace(1_000);
        for _ in 0..10 {
            pace.unresolved(Instant::now());
            pace.unresolved(Instant::now());
            pace.answered();
        }
        assert_eq!(pace.paused_until(), None);
        for _ in 0..3 {
            pace.unresolved(Instant::now());
        }
        assert!(pace.paused_until().is_some());
    }
}
