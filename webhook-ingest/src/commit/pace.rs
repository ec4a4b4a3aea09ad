//! How many webhooks the database records in the time that is left to answer them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::Duration;

/// Longest time that a webhook may wait for its commit. Its request ends 100 ms later.
const WAIT_LIMIT: Duration = Duration::from_millis(1_400);
/// Smaller batches measure the flush of the disk, and not how fast webhooks are recorded.
const MEASURED: usize = 32;
/// Webhooks a second before the first measurement.
const FIRST_ESTIMATE: u32 = 5_000;
/// Part of a new measurement in the estimate.
const WEIGHT: f64 = 0.3;

/// The estimated pace of commits, and the number of webhooks that wait for one. Clones share them.
#[derive(Debug, Clone)]
pub(super) struct Pace {
    state: Arc<State>,
    /// So many may wait at any pace, because slower measurements come only from batches of some size.
    always: usize,
}

#[derive(Debug)]
struct State {
    /// Webhooks a second. Only the committer writes it.
    rate: AtomicU32,
    waiting: AtomicUsize,
}

/// A webhook that waits for its commit, until it is dropped.
#[derive(Debug)]
pub(super) struct Waiting(Arc<State>);

impl Pace {
    pub(super) fn new(always: usize) -> Self {
        let state = State { rate: AtomicU32::new(FIRST_ESTIMATE), waiting: AtomicUsize::new(0) };
        Self { state: Arc::new(state), always }
    }

    /// Whether a webhook that comes now is recorded in time.
    pub(super) fn has_time(&self) -> bool {
        self.state.waiting.load(Ordering::Relaxed) < self.limit()
    }

    /// Counts a webhook that waits. `None` if it would not be recorded in time.
    pub(super) fn wait(&self) -> Option<Waiting> {
        let before = self.state.waiting.fetch_add(1, Ordering::Relaxed);
        let waiting = Waiting(Arc::clone(&self.state));
        (before < self.limit()).then_some(waiting)
    }

    /// Takes the measure of a commit.
    pub(super) fn measured(&self, webhooks: usize, took: Duration) {
        if webhooks < MEASURED {
            return;
        }
        let measured = webhooks as f64 / took.as_secs_f64().max(1e-6);
        let before = f64::from(self.state.rate.load(Ordering::Relaxed));
        let rate = before + WEIGHT * (measured - before);
        self.state.rate.store(rate as u32, Ordering::Relaxed);
    }

    fn limit(&self) -> usize {
        let rate = f64::from(self.state.rate.load(Ordering::Relaxed));
        self.always.max((rate * WAIT_LIMIT.as_secs_f64()) as usize)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many may wait at once.
    fn limit(pace: &Pace) -> usize {
        let waiting: Vec<_> = std::iter::from_fn(|| pace.wait()).collect();
        assert!(!pace.has_time());
        waiting.len()
    }

    #[test]
    fn as_many_wait_as_are_recorded_in_the_time_that_is_left() {
        let pace = Pace::new(256);
        assert_eq!(limit(&pace), 7_000);
        for _ in 0..50 {
            pace.measured(200, Duration::from_millis(100));
        }
        assert!((2_790..=2_800).contains(&limit(&pace)), "{pace:?}");
        assert!(pace.has_time(), "those that ended count no more");
    }

    #[test]
    fn a_slow_database_leaves_room_for_a_batch_and_recovers() {
        let pace = Pace::new(256);
        for _ in 0..50 {
            pace.measured(256, Duration::from_secs(60));
        }
        assert_eq!(limit(&pace), 256);
        for _ in 0..50 {
            pace.measured(256, Duration::from_millis(64));
        }
        assert!(limit(&pace) > 5_500, "{pace:?}");
    }

    #[test]
    fn a_single_webhook_says_nothing_of_the_pace() {
        let pace = Pace::new(256);
        pace.measured(1, Duration::from_millis(100));
        assert_eq!(limit(&pace), 7_000);
    }
}
