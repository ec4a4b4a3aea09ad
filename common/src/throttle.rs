//! Limits log lines that repeat.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Kinds that are limited separately. All others count as one kind.
const MAX_KINDS: usize = 32;
/// The kind of all others.
const FURTHER: &str = "";

/// Lets each kind of line through once in a while, and counts those held back. Its memory is bounded, whatever the kinds.
#[derive(Debug)]
pub struct Throttle {
    every: Duration,
    kinds: Mutex<BTreeMap<String, Passed>>,
}

#[derive(Debug)]
struct Passed {
    at: Instant,
    held_back: u64,
}

impl Throttle {
    /// Lets each kind through once in this time.
    pub const fn every(every: Duration) -> Self {
        Self { every, kinds: Mutex::new(BTreeMap::new()) }
    }

    /// Lets each kind through once a minute.
    pub const fn once_a_minute() -> Self {
        Self::every(Duration::from_secs(60))
    }

    /// `Some` if a line of this kind may be logged now: how many were held back since the last one. `None` if this one is
    /// held back, too.
    pub fn opens(&self, kind: &str) -> Option<u64> {
        self.opens_at(kind, Instant::now())
    }

    fn opens_at(&self, kind: &str, now: Instant) -> Option<u64> {
        let mut kinds = self.kinds.lock().unwrap_or_else(PoisonError::into_inner);
        if kinds.len() >= MAX_KINDS && !kinds.contains_key(kind) {
            let every = self.every;
            kinds
                .retain(|_, passed| passed.held_back > 0 || now.saturating_duration_since(passed.at) < every);
        }
        let kind = if kinds.contains_key(kind) || kinds.len() < MAX_KINDS { kind } else { FURTHER };
        match kinds.get_mut(kind) {
            None => {
                kinds.insert(kind.to_owned(), Passed { at: now, held_back: 0 });
                Some(0)
            }
            Some(last) if now.saturating_duration_since(last.at) < self.every => {
                last.held_back += 1;
                None
            }
            Some(last) => {
                last.at = now;
                Some(std::mem::take(&mut last.held_back))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_passes_once_a_minute_with_the_number_held_back() {
        let (throttle, start) = (Throttle::once_a_minute(), Instant::now());
        let told = |second, kind| throttle.opens_at(kind, start + Duration::from_secs(second));
        assert_eq!(told(0, "a"), Some(0));
        assert_eq!((told(1, "a"), told(59, "a")), (None, None));
        assert_eq!(told(59, "b"), Some(0));
        assert_eq!(told(60, "a"), Some(2));
        assert_eq!((told(61, "a"), told(121, "a")), (None, Some(1)));
    }

    #[test]
    fn kinds_that_are_over_make_room_for_others() {
        let (throttle, start) = (Throttle::once_a_minute(), Instant::now());
        for n in 0..MAX_KINDS {
            assert_eq!(throttle.opens_at(&n.to_string(), start), Some(0));
        }
        let later = start + Duration::from_secs(60);
        assert_eq!((throttle.opens_at("a", later), throttle.opens_at("b", later)), (Some(0), Some(0)));
    }

    #[test]
    fn any_number_of_kinds_takes_bounded_memory() {
        let (throttle, now) = (Throttle::once_a_minute(), Instant::now());
        let told = (0..1_000).filter(|n| throttle.opens_at(&n.to_string(), now).is_some()).count();
        assert_eq!(told, MAX_KINDS + 1);
        assert_eq!(throttle.kinds.lock().unwrap().len(), MAX_KINDS + 1);
    }
}
