//! The waits between a client's connection attempts.

use std::time::Duration;

use crate::chance::Chance;

/// The stock client's wait before its first attempt, plus or minus half of it. Each further wait is twice as long.
const FIRST: Duration = Duration::from_secs(1);
/// The longest wait.
const LONGEST: Duration = Duration::from_secs(5);

/// The stock client's waits between losing its connection and each attempt. They differ between clients and are the
/// same in every run, so that runs can be compared.
#[derive(Debug, Clone, Copy)]
pub(super) struct Backoff {
    chance: Chance,
    attempts: u32,
}

impl Backoff {
    /// The waits of the client with this number.
    pub(super) fn new(number: usize) -> Self {
        Self { chance: Chance::new(number as u64), attempts: 0 }
    }

    /// Starts again with the first wait, after a successful connection.
    pub(super) fn reset(&mut self) {
        self.attempts = 0;
    }

    /// The next wait.
    pub(super) fn next(&mut self) -> Duration {
        let wait = FIRST * 2_u32.saturating_pow(self.attempts.min(8));
        self.attempts += 1;
        wait.mul_f64(0.5 + self.chance.share()).min(LONGEST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_five_seconds_and_are_spread_by_half() {
        let mut first = Vec::new();
        for number in 0..1_000 {
            let mut backoff = Backoff::new(number);
            let waits = [backoff.next(), backoff.next(), backoff.next(), backoff.next()];
            first.push(waits[0].as_secs_f64());
            assert!((0.5..1.5).contains(&first[number]), "{waits:?}");
            assert!((1.0..3.0).contains(&waits[1].as_secs_f64()), "{waits:?}");
            assert!(waits[2..].iter().all(|wait| *wait <= LONGEST), "{waits:?}");
            backoff.reset();
            assert!(backoff.next() < Duration::from_millis(1_500));
        }
        let mean = first.iter().sum::<f64>() / first.len() as f64;
        assert!((0.95..1.05).contains(&mean), "{mean}");
    }
}
