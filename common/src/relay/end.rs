//! Where the stream ends, as far as the relay knows, and what a refusal says about it.
//!
//! | the stream answers | and | it means | next |
//! |---|---|---|---|
//! | its last event is `x` | `x` is among these rows | `x` is stored and its answer was lost | [`End::Passed`]: the same rows again, expecting the sequence, to learn how many are stored |
//! | its last event is `x` | `x` was announced earlier | the stream lost what came after `x` | what it lost waits again: read the outbox again |
//! | its last event is `x` | `x` is not in the outbox | `x` is foreign | go on after it: read the outbox again |
//! | its last event is unknown | | the server was restarted | the same rows again, expecting the sequence |
//! | its last sequence is `n` | it has as many more events as rows are unanswered; the last of them is `x`, if [`End::Passed`] | [`Stored`](Lag::Stored): their answers were lost | mark them, go on with the rest |
//! | its last sequence is `n` | it has more, and [`End::Passed`] names the last | [`Stored`](Lag::Stored): that row alone is certain | mark it, go on with the rest |
//! | its last sequence is `n` | that is before the expected one | [`TailLost`](Lag::TailLost) | what it lost waits again: read the outbox again |
//! | its last sequence is `n` | otherwise | [`Foreign`](Lag::Foreign) | go on after them: read the outbox again |
//! | too large | there is a smaller form | | announce the smaller form in its place |
//! | too large | there is none | | take the row out and keep it for operators |
//! | anything else | | the stream can't be reached or can't store | back off |

use uuid::Uuid;

use crate::store::OutboxRow;

/// What the next row expects to be the stream's last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fence {
    Event(Uuid),
    Sequence(i64),
}

/// A place behind an event of the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) fence: Fence,
    pub(super) sequence: i64,
}

impl Place {
    pub(super) fn after(event: Uuid, sequence: i64) -> Self {
        Self { fence: Fence::Event(event), sequence }
    }

    pub(super) fn at(sequence: i64) -> Self {
        Self { fence: Fence::Sequence(sequence), sequence }
    }
}

/// Where the stream ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// Not known yet: after the event that was announced last, says the outbox.
    Unread,
    /// Probably here. One row alone asks: of several, a later one could fit where the first does not.
    Assumed(Place),
    /// The stream stored the last rows here, so many rows may follow at once.
    Confirmed(Place),
    /// Behind a row that waits: `last` is stored, at a sequence that is not known yet.
    Passed { before: i64, last: Uuid },
}

impl End {
    pub(super) fn place(self) -> Option<Place> {
        match self {
            Self::Unread => None,
            Self::Assumed(place) | Self::Confirmed(place) => Some(place),
            Self::Passed { before, .. } => Some(Place::at(before)),
        }
    }

    /// The stream stored an event at a sequence.
    pub(super) fn advance(&mut self, event: Uuid, sequence: i64) {
        if self.place().is_none_or(|place| sequence >= place.sequence) {
            *self = Self::Assumed(Place::after(event, sequence));
        }
    }

    /// The stream took, or refused, the last rows.
    pub(super) fn confirm(&mut self, is_taken: bool) {
        match *self {
            Self::Assumed(place) if is_taken => *self = Self::Confirmed(place),
            Self::Confirmed(place) if !is_taken => *self = Self::Assumed(place),
            _ => {}
        }
    }

    /// What a stream that ends at `last` has stored. `unanswered` are the rows whose answers are missing, in the order
    /// in which they were sent; `rows` are all that wait.
    pub(super) fn lag<'r>(
        self,
        last: i64,
        unanswered: Vec<&'r OutboxRow>,
        rows: &[&'r OutboxRow],
    ) -> Lag<'r> {
        let expected = self.place().map_or(0, |place| place.sequence);
        let more = usize::try_from(last - expected).unwrap_or(0);
        if more == 0 {
            return if last < expected { Lag::TailLost } else { Lag::Foreign };
        }
        let passed = match self {
            Self::Passed { last, .. } => Some(last),
            _ => None,
        };
        let is_last = |row: &OutboxRow| passed.is_none_or(|passed| row.event_id == passed);
        if unanswered.len() == more && unanswered.last().is_some_and(|row| is_last(row)) {
            return Lag::Stored(unanswered);
        }
        match rows.iter().copied().find(|row| Some(row.event_id) == passed) {
            Some(row) => Lag::Stored(vec![row]),
            None => Lag::Foreign,
        }
    }
}

/// How the outbox lags behind a stream that ends elsewhere than expected.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Lag<'r> {
    /// These rows are stored, the last of them at the stream's end.
    Stored(Vec<&'r OutboxRow>),
    /// The stream lost what it held above its end.
    TailLost,
    /// The stream holds events that are not in the outbox.
    Foreign,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(count: i64) -> Vec<OutboxRow> {
        let row = |position: i64| OutboxRow {
            position,
            event_id: id(position),
            message_id: Uuid::nil(),
            progress: false,
            subject: String::new(),
            payload: String::new(),
            trace_parent: None,
        };
        (1..=count).map(row).collect()
    }

    fn id(position: i64) -> Uuid {
        Uuid::from_u128(u128::try_from(position).unwrap())
    }

    /// Of three rows that wait behind sequence 10, of which the first `sent` are unanswered.
    fn lag(end: End, last: i64, sent: usize) -> Option<Vec<i64>> {
        let rows = rows(3);
        let rows: Vec<_> = rows.iter().collect();
        match end.lag(last, rows[..sent].to_vec(), &rows) {
            Lag::Stored(rows) => Some(rows.iter().map(|row| row.position).collect()),
            Lag::TailLost => Some(Vec::new()),
            Lag::Foreign => None,
        }
    }

    #[test]
    fn rows_are_taken_as_stored_only_if_their_number_adds_up() {
        let end = End::Assumed(Place::at(10));
        assert_eq!(lag(end, 12, 2), Some(vec![1, 2]));
        assert_eq!(lag(end, 12, 1), None);
        assert_eq!(lag(end, 11, 2), None);
        assert_eq!(lag(end, 10, 2), None);
    }

    #[test]
    fn the_streams_last_event_must_be_the_last_that_was_sent() {
        let passed = |position| End::Passed { before: 10, last: id(position) };
        assert_eq!(lag(passed(2), 12, 2), Some(vec![1, 2]));
        assert_eq!(lag(passed(1), 12, 2), Some(vec![1]));
        assert_eq!(lag(passed(3), 12, 2), Some(vec![3]));
        assert_eq!(lag(passed(4), 11, 2), None);
    }

    #[test]
    fn a_stream_that_ends_before_has_lost_its_tail() {
        assert_eq!(lag(End::Confirmed(Place::at(10)), 9, 2), Some(Vec::new()));
        assert_eq!(lag(End::Passed { before: 10, last: id(1) }, 9, 2), Some(Vec::new()));
    }

    #[test]
    fn many_rows_follow_at_once_only_behind_rows_that_were_taken() {
        let mut end = End::Unread;
        end.confirm(true);
        assert_eq!(end, End::Unread);
        end.advance(id(1), 11);
        end.confirm(true);
        assert_eq!(end, End::Confirmed(Place::after(id(1), 11)));
        // An answer of a row that was stored earlier says nothing of the end.
        end.advance(id(2), 5);
        assert_eq!(end, End::Confirmed(Place::after(id(1), 11)));
        end.confirm(false);
        assert_eq!(end, End::Assumed(Place::after(id(1), 11)));
    }
}
