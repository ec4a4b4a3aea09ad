//! What clients got, and what of it was missing or too much.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::watched::Watched;
use crate::load::socketio::Traffic;

/// What a client got.
#[derive(Debug, Default)]
pub struct Heard {
    /// Number of its church.
    pub church: usize,
    /// Numbers of the changes in the order of their arrival, repetitions included.
    pub changes: Vec<usize>,
    /// How long each took from its beginning, repetitions not included.
    pub latencies: Vec<Duration>,
    /// Of how many of the changes it knew when each further connection began.
    pub(super) seams: Vec<usize>,
    /// How it came back, each time.
    pub returns: Vec<Return>,
    /// How often it dropped its connection, or lost it and was meant to come back.
    pub ends: u64,
    /// Attempts to come back that were in vain.
    pub refused: u64,
    /// What the first of them was answered.
    pub refusal: Option<String>,
    /// How often it was told that something may be missing.
    pub lost_continuity: u64,
    /// What went over its connections.
    pub traffic: Traffic,
    /// Its connection ended for good although nobody cut it.
    pub broken: Option<String>,
}

/// How a client came back.
#[derive(Debug, Clone, Copy)]
pub struct Return {
    /// Its connection ended.
    pub lost: Instant,
    /// The attempt began that succeeded.
    pub begun: Instant,
    /// The server let it in.
    pub connected: Instant,
    /// It had its place again, and all changes that were in the record when the attempt began.
    pub caught_up: Instant,
    /// How many of those it did not have before.
    pub missed: usize,
}

impl Return {
    /// From the beginning of the attempt until nothing was missing any more.
    pub fn took(&self) -> Duration {
        self.caught_up - self.begun
    }
}

/// What all clients together missed and got twice, if each should have heard the changes of its church.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Tally {
    /// Changes that should have been heard, over all clients.
    pub expected: u64,
    /// Of these, heard.
    pub got: u64,
    /// Heard once more, after the client had come back: that may be.
    pub repeated: u64,
    /// Heard once more over the same connection, or by another church: that may not be.
    pub wrong: u64,
}

impl Tally {
    /// Counts.
    pub fn of(all: &[Heard], watched: &Watched) -> Self {
        let mut tally = Self::default();
        for heard in all {
            let own = watched.of_church(heard.church);
            let known: BTreeSet<usize> = heard.changes.iter().copied().collect();
            let got = own.iter().filter(|number| known.contains(number)).count();
            let twice = heard.changes.len() - known.len();
            let twice_at_once = heard.repeated_over_one_connection();
            tally.expected += own.len() as u64;
            tally.got += got as u64;
            tally.repeated += (twice - twice_at_once) as u64;
            tally.wrong += (twice_at_once + known.len() - got) as u64;
        }
        tally
    }

    /// How many were missed.
    pub fn missing(&self) -> u64 {
        self.expected - self.got
    }
}

impl Heard {
    fn repeated_over_one_connection(&self) -> usize {
        let begins = [0].into_iter().chain(self.seams.iter().copied());
        let ends = self.seams.iter().copied().chain([self.changes.len()]);
        let of_one = begins.zip(ends).map(|(begin, end)| {
            let known: BTreeSet<_> = self.changes[begin..end].iter().collect();
            end - begin - known.len()
        });
        of_one.sum()
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn missed_repeated_and_foreign_events_are_counted() {
        let watched = Watched::new([0, 1, 0].map(|church| (church, Uuid::now_v7())));
        let heard = |church, changes: &[usize], seams: &[usize]| Heard {
            church,
            changes: changes.to_vec(),
            seams: seams.to_vec(),
            ..Heard::default()
        };
        let all = [heard(0, &[0, 2, 2], &[]), heard(0, &[0, 2, 2], &[2]), heard(1, &[0], &[])];
        let tally = Tally::of(&all, &watched);
        assert_eq!(tally, Tally { expected: 5, got: 4, repeated: 1, wrong: 2 });
        assert_eq!(tally.missing(), 1);
    }
}
