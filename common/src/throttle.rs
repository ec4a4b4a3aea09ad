//! News that repeats itself, told no more often than a person can read.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Kinds of news that are told apart; all further ones count as one kind.
const MAX_KINDS: usize = 32;
/// The kind of all further ones.
const FURTHER: &str = "";

/// Lets each kind of news through once in a while, and counts what it held back. Bounded, whatever the kinds are made of.
#[derive(Debug)]
pub struct Throttle {
    every: Duration,
    kinds: Mutex<BTreeMap<String, Told>>,
}

#[derive(Debug)]
struct Told {
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

    /// Whether news of this kind may be told now: how many were held back since it was told last, `None` if it has to
    /// be held back, too.
    pub fn opens(&self, kind: &str) -> Option<u64> {
        self.opens_at(kind, Instant::now())
    }

    fn opens_at(&self, kind: &str, now: Instant) -> Option<u64> {
        let mut kinds = self.kinds.lock().unwrap_or_else(PoisonError::into_inner);
        let kind = if kinds.contains_key(kind) || kinds.len() < MAX_KINDS { kind } else { FURTHER };
        match kinds.get_mut(kind) {
            None => {
                kinds.insert(kind.to_owned(), Told { at: now, held_back: 0 });
                Some(0)
            }
            Some(told) if now.saturating_duration_since(told.at) < self.every => {
                told.held_back += 1;
                None
            }
            Some(told) => {
                told.at = now;
                Some(std::mem::take(&mut told.held_back))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_is_told_once_a_minute_with_the_number_held_back() {
        let (throttle, start) = (Throttle::once_a_minute(), Instant::now());
        let told = |second, kind| throttle.opens_at(kind, start + Duration::from_secs(second));
        assert_eq!(told(0, "a"), Some(0));
        assert_eq!((told(1, "a"), told(59, "a")), (None, None));
        assert_eq!(told(59, "b"), Some(0));
        assert_eq!(told(60, "a"), Some(2));
        assert_eq!((told(61, "a"), told(121, "a")), (None, Some(1)));
    }

    #[test]
    fn endless_kinds_take_no_endless_memory_and_are_not_told_one_by_one() {
        let (throttle, now) = (Throttle::once_a_minute(), Instant::now());
        let told = (0..1_000).filter(|n| throttle.opens_at(&n.to_string(), now).is_some()).count();
        assert_eq!(told, MAX_KINDS + 1);
        assert_eq!(throttle.kinds.lock().unwrap().len(), MAX_KINDS + 1);
    }
}
