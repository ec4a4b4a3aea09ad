//! The fingerprints of the stream's newest messages: eight bytes each, kept much longer than the events themselves.
//! They prove the cursor of a client that was away while its church was quiet, without a read of the stream.

use std::collections::VecDeque;

use crate::stream::Fingerprint;

/// Fingerprints that are kept: 8 MiB.
const KEPT: usize = 1 << 20;

/// Fingerprints of sequences without a hole, up to the last one.
pub(crate) struct Fingerprints {
    /// The sequence of the first fingerprint.
    first: u64,
    fingerprints: VecDeque<Fingerprint>,
}

impl Fingerprints {
    /// Begins with the fingerprint at `floor`, if it is known. Sequence 0 is before the first message and has zeros.
    pub(crate) fn after(floor: u64, at_floor: Option<Fingerprint>) -> Self {
        let known = if floor == 0 { Some(Fingerprint::default()) } else { at_floor };
        let first = if known.is_some() { floor } else { floor + 1 };
        Self { first, fingerprints: known.into_iter().collect() }
    }

    /// Adds the fingerprint of the next sequence.
    pub(crate) fn push(&mut self, fingerprint: Fingerprint) {
        if self.fingerprints.len() == KEPT {
            self.fingerprints.pop_front();
            self.first += 1;
        }
        self.fingerprints.push_back(fingerprint);
    }

    /// The fingerprint at a sequence, if it is kept.
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
    fn sequence_zero_has_a_fingerprint_of_zeros() {
        assert_eq!(Fingerprints::after(0, None).at(0), Some(Fingerprint::default()));
        assert_eq!(Fingerprints::after(5, None).at(5), None);
        assert_eq!(Fingerprints::after(5, Some(mark(5))).at(5), Some(mark(5)));
    }

    #[test]
    fn the_oldest_are_forgotten_and_the_others_keep_their_sequences() {
        let mut kept = Fingerprints::after(7, None);
        let last = 7 + KEPT as u64 + 3;
        (8..=last).for_each(|sequence| kept.push(mark(sequence)));
        assert_eq!((kept.at(10), kept.at(11)), (None, Some(mark(11))));
        assert_eq!((kept.at(last), kept.at(last + 1)), (Some(mark(last)), None));
    }
}
