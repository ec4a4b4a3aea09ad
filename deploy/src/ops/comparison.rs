//! Compares the outbox with the stream: which events are lost, stored twice, or of somebody else.

use std::collections::HashMap;

use anyhow::Context as _;
use async_nats::jetstream::stream::Stream;
use common::store::{AnnouncedEvent, Store};
use uuid::Uuid;

use super::events;
use super::progress::Progress;

/// Sequences that are compared at once.
const PART: i64 = 2_000;

/// An event that does not add up.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Difference {
    /// The outbox says that it is in the stream, and it is not.
    Lost(AnnouncedEvent),
    /// The stream holds it here, too.
    Twice { event_id: Uuid, sequence: u64 },
    /// The stream holds it, and the outbox does not know it.
    Unknown { id: String, sequence: u64 },
}

/// What a comparison found.
#[derive(Debug, Default)]
pub(super) struct Comparison {
    /// Places in the stream that were looked at.
    pub(super) events: u64,
    pub(super) differences: Vec<Difference>,
}

/// A message of the stream that is not where the outbox says.
#[derive(Debug, PartialEq, Eq)]
struct Misplaced {
    sequence: u64,
    id: String,
}

/// Compares what both hold, part by part. Works while the services run: it stops at what was announced last when it
/// began, and what either deletes meanwhile is no difference.
pub(super) async fn compare(
    store: &Store,
    stream: &Stream,
    progress: &Progress,
) -> anyhow::Result<Comparison> {
    let Some((first, last)) = store.announced_span().await? else { return Ok(Comparison::default()) };
    let begin = stream.get_info().await.context("can't read the stream CHURCH")?.state.first_sequence;
    let mut begin = first.max(i64::try_from(begin).unwrap_or(i64::MAX));
    let mut differences = Vec::new();
    let start = begin;
    let count = |until: i64| u64::try_from(until - start).unwrap_or(0);
    while begin <= last {
        progress.tell(count(begin), Some(count(last + 1)), "events of the stream");
        let end = last.min(begin + PART - 1);
        differences.extend(compare_part(store, stream, (begin, end)).await?);
        begin = end + 1;
    }
    let oldest = store.announced_span().await?.map_or(i64::MAX, |(first, _)| first);
    let begin = stream.get_info().await.context("can't read the stream CHURCH")?.state.first_sequence;
    differences.retain(|difference| is_kept(difference, oldest, begin));
    Ok(Comparison { events: count(last + 1), differences })
}

/// Whether both still reach back to a difference.
fn is_kept(difference: &Difference, oldest_in_outbox: i64, first_in_stream: u64) -> bool {
    match difference {
        Difference::Lost(event) => u64::try_from(event.stream_seq).is_ok_and(|at| at >= first_in_stream),
        Difference::Twice { .. } => true,
        Difference::Unknown { sequence, .. } => {
            i64::try_from(*sequence).is_ok_and(|sequence| sequence >= oldest_in_outbox)
        }
    }
}

async fn compare_part(
    store: &Store,
    stream: &Stream,
    (first, last): (i64, i64),
) -> anyhow::Result<Vec<Difference>> {
    let limit = u32::try_from(PART).unwrap_or(u32::MAX);
    let recorded = store.announced_between(first, last, limit).await?;
    let span = (u64::try_from(first).unwrap_or(0), u64::try_from(last).unwrap_or(0));
    let stored = events::ids_between(stream, span.0, span.1).await?;
    let (lost, misplaced) = misplaced(recorded, stored);
    let mut differences: Vec<Difference> = lost.into_iter().map(Difference::Lost).collect();
    for Misplaced { sequence, id } in misplaced {
        let event_id = id.parse::<Uuid>().ok();
        let announced = match event_id {
            Some(event_id) => store.announced(event_id).await?,
            None => None,
        };
        differences.push(match (event_id, announced) {
            (Some(event_id), Some(_)) => Difference::Twice { event_id, sequence },
            _ => Difference::Unknown { id, sequence },
        });
    }
    Ok(differences)
}

/// The events that are not in the stream where the outbox says, and the messages of the stream that no event explains.
fn misplaced(
    recorded: Vec<AnnouncedEvent>,
    stored: Vec<(u64, String)>,
) -> (Vec<AnnouncedEvent>, Vec<Misplaced>) {
    let mut stored: HashMap<u64, String> = stored.into_iter().collect();
    let mut lost = Vec::new();
    for event in recorded {
        let sequence = u64::try_from(event.stream_seq).unwrap_or(0);
        if stored.get(&sequence) == Some(&event.event_id.to_string()) {
            stored.remove(&sequence);
        } else {
            lost.push(event);
        }
    }
    let mut misplaced: Vec<Misplaced> =
        stored.into_iter().map(|(sequence, id)| Misplaced { sequence, id }).collect();
    misplaced.sort_by_key(|one| one.sequence);
    (lost, misplaced)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(number: u128, stream_seq: i64) -> AnnouncedEvent {
        AnnouncedEvent { event_id: Uuid::from_u128(number), message_id: Uuid::nil(), stream_seq }
    }

    fn stored(number: u128, sequence: u64) -> (u64, String) {
        (sequence, Uuid::from_u128(number).to_string())
    }

    #[test]
    fn an_event_at_its_sequence_is_no_difference() {
        let (lost, misplaced) = misplaced(vec![event(1, 4), event(2, 5)], vec![stored(1, 4), stored(2, 5)]);
        assert!(lost.is_empty() && misplaced.is_empty());
    }

    #[test]
    fn an_event_that_is_absent_is_lost_and_one_that_nobody_announced_is_misplaced() {
        let (lost, misplaced) = misplaced(vec![event(1, 4), event(2, 5)], vec![stored(1, 4), stored(3, 5)]);
        assert_eq!(lost, [event(2, 5)]);
        assert_eq!(misplaced, [Misplaced { sequence: 5, id: Uuid::from_u128(3).to_string() }]);
    }

    #[test]
    fn an_event_that_is_stored_again_is_misplaced_the_second_time() {
        let (lost, misplaced) = misplaced(vec![event(1, 4)], vec![stored(1, 4), stored(1, 5)]);
        assert!(lost.is_empty());
        assert_eq!(misplaced, [Misplaced { sequence: 5, id: Uuid::from_u128(1).to_string() }]);
    }

    #[test]
    fn what_was_deleted_meanwhile_is_no_difference() {
        assert!(!is_kept(&Difference::Lost(event(1, 4)), 1, 5));
        assert!(is_kept(&Difference::Lost(event(1, 5)), 1, 5));
        let unknown = Difference::Unknown { id: String::new(), sequence: 4 };
        assert!(!is_kept(&unknown, 5, 1) && is_kept(&unknown, 4, 1));
    }
}
