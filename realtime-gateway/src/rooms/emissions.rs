//! Which events went out, and to how many sockets: what operators ask a gateway. Kept in memory only.

use std::collections::VecDeque;

use common::subject::ChurchId;
use time::OffsetDateTime;

/// Most emissions that are remembered.
const REMEMBERED: usize = 20_000;

/// One event that went out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Emission {
    /// Its sequence in the stream.
    pub(crate) sequence: u64,
    /// Its church.
    pub(crate) church: ChurchId,
    /// Live sockets that got all its packets. Sockets that were catching up got it later.
    pub(crate) sockets: u32,
    /// When.
    pub(crate) at: OffsetDateTime,
}

/// The newest emissions, in the order of the stream.
#[derive(Debug, Default)]
pub(super) struct Emissions {
    newest: VecDeque<Emission>,
    /// What was emitted up to here is not remembered.
    forgotten: u64,
}

impl Emissions {
    /// Begins behind a sequence. What was before it is forgotten.
    pub(super) fn begin_after(&mut self, sequence: u64) {
        self.newest.clear();
        self.forgotten = sequence;
    }

    /// Notes an emission, and forgets the oldest one if there is no room.
    pub(super) fn note(&mut self, emission: Emission) {
        if self.newest.len() == REMEMBERED
            && let Some(oldest) = self.newest.pop_front()
        {
            self.forgotten = oldest.sequence;
        }
        self.newest.push_back(emission);
    }

    /// The emissions of a church from one sequence to another.
    pub(super) fn of(&self, church: &ChurchId, first: u64, last: u64) -> Vec<Emission> {
        let begin = self.newest.partition_point(|one| one.sequence < first);
        let found = self.newest.range(begin..).take_while(|one| one.sequence <= last);
        found.filter(|one| one.church == *church).cloned().collect()
    }

    /// The first sequence whose emission would be remembered.
    pub(super) fn remembered_from(&self) -> u64 {
        self.forgotten + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn emission(sequence: u64, church: &str) -> Emission {
        let at = OffsetDateTime::UNIX_EPOCH;
        Emission { sequence, church: church.parse().unwrap(), sockets: 1, at }
    }

    #[test]
    fn the_newest_emissions_are_remembered_and_older_ones_are_not() {
        let mut emissions = Emissions::default();
        emissions.begin_after(4);
        let last = 4 + REMEMBERED as u64 + 3;
        (5..=last).for_each(|sequence| emissions.note(emission(sequence, "grace")));
        assert_eq!(emissions.remembered_from(), 8);
        let grace = "grace".parse().unwrap();
        let sequences = |first, last| emissions.of(&grace, first, last).len() as u64;
        assert_eq!((sequences(1, 7), sequences(1, 9), sequences(last, last + 5)), (0, 2, 1));
    }

    #[test]
    fn a_church_sees_its_own_emissions_alone() {
        let mut emissions = Emissions::default();
        emissions.note(emission(1, "grace"));
        emissions.note(emission(2, "hope"));
        assert_eq!(emissions.of(&"hope".parse().unwrap(), 1, 9), [emission(2, "hope")]);
    }
}
