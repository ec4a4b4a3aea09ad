//! What clients received, and which events were missing or repeated.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::watched::Watched;
use crate::load::socketio::Traffic;

/// What a client received.
#[derive(Debug, Default)]
pub struct Heard {
    /// Number of the client's church.
    pub church: usize,
    /// Numbers of the changes in order of arrival, repetitions included.
    pub changes: Vec<usize>,
    /// Latency of each change, without repetitions.
    pub latencies: Vec<Duration>,
    /// Number of changes that it had when each further connection began.
    pub(super) seams: Vec<usize>,
    /// Its reconnects.
    pub returns: Vec<Return>,
    /// How often it cut its connection, or lost it and was to come back.
    pub ends: u64,
    /// Failed attempts to reconnect.
    pub refused: u64,
    /// The error of the first failed attempt.
    pub refusal: Option<String>,
    /// Number of `recovered: false`.
    pub lost_continuity: u64,
    /// Traffic of its connections.
    pub traffic: Traffic,
    /// Why its connection ended, if the generator did not end it.
    pub broken: Option<String>,
}

/// The steps of a reconnect.
#[derive(Debug, Clone, Copy)]
pub struct Return {
    /// The connection ended.
    pub lost: Instant,
    /// The successful attempt began.
    pub begun: Instant,
    /// The server accepted it.
    pub connected: Instant,
    /// It had `connected` and all changes that were recorded when the attempt began.
    pub caught_up: Instant,
    /// Number of those changes that it did not have before.
    pub missed: usize,
}

impl Return {
    /// Time from the beginning of the attempt until nothing was missing.
    pub fn took(&self) -> Duration {
        self.caught_up - self.begun
    }
}

/// Missed and repeated changes of all clients, if each should receive the changes of its church.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Tally {
    /// Expected changes over all clients.
    pub expected: u64,
    /// Received changes among the expected ones.
    pub got: u64,
    /// Received again after a reconnect, which is allowed.
    pub repeated: u64,
    /// Received again over the same connection or by another church, which is a fault.
    pub wrong: u64,
}

impl Tally {
    /// Adds one client's changes.
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

    /// The number of missed changes.
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
