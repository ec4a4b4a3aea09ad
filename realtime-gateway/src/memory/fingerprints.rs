//! What stands at each of the stream's newest sequences: eight bytes of every event, long after the event itself was
//! forgotten. So the cursor of a client that was away while nothing happened in its church costs no question.

use std::collections::VecDeque;

use crate::stream::cursor::Fingerprint;

/// So many are kept: 8 MiB.
const KEPT: usize = 1 << 20;

/// Fingerprints of sequences without a hole, up to the last one.
pub(crate) struct Places {
    /// The sequence of the first fingerprint.
    first: u64,
    fingerprints: VecDeque<Fingerprint>,
}

impl Places {
    /// Begins with what stands at `floor`, if that is known. Before the first sequence of a stream stand zeros.
    pub(crate) fn after(floor: u64, at_floor: Option<Fingerprint>) -> Self {
        let known = if floor == 0 { Some(Fingerprint::default()) } else { at_floor };
        let first = if known.is_some() { floor } else { floor + 1 };
        Self { first, fingerprints: known.into_iter().collect() }
    }

    /// What stands at the next sequence.
    pub(crate) fn push(&mut self, fingerprint: Fingerprint) {
        if self.fingerprints.len() == KEPT {
            self.fingerprints.pop_front();
            self.first += 1;
        }
        self.fingerprints.push_back(fingerprint);
    }

    /// What stands at a sequence, if that is kept.
    pub(crate) fn at(&self, sequence: u64) -> Option<Fingerprint> {
        let position = usize::try_from(sequence.checked_sub(self.first)?).ok()?;
        self.fingerprints.get(position).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(sequence: u64) -> Fingerprint {
        Fingerprint::of_bytes(&sequence.to_be_bytes())
    }

    #[test]
    fn before_the_first_sequence_of_a_stream_stand_zeros() {
        assert_eq!(Places::after(0, None).at(0), Some(Fingerprint::default()));
        assert_eq!(Places::after(5, None).at(5), None);
        assert_eq!(Places::after(5, Some(mark(5))).at(5), Some(mark(5)));
    }

    #[test]
    fn the_oldest_are_forgotten_and_the_newest_are_where_they_were() {
        let mut places = Places::after(7, None);
        let last = 7 + KEPT as u64 + 3;
        (8..=last).for_each(|sequence| places.push(mark(sequence)));
        assert_eq!((places.at(10), places.at(11)), (None, Some(mark(11))));
        assert_eq!((places.at(last), places.at(last + 1)), (Some(mark(last)), None));
    }
}
