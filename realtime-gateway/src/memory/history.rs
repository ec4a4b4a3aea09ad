//! What is older than the memory, read from the stream for clients that were away for long.
//!
//! A gateway that goes down sends thousands of clients here at once. So a part of the stream is read once for all
//! who ask for it at about the same time, and only a few reads are under way at any moment.

use std::collections::HashMap;
use std::sync::Arc;

use common::event::ChurchEvent;
use common::status::MessageStatus;
use common::subject::{self, ChurchId};
use moka::future::Cache;
use tokio::sync::Semaphore;
use uuid::Uuid;

use crate::events::decode;
use crate::memory::recent::Event;
use crate::stream::cursor::Fingerprint;
use crate::stream::reader::{ReadError, Reader, Stored};

/// Reads that are under way at once.
const READS: usize = 8;
/// Pages are kept for the next who ask, as long as all together they take no more bytes than this.
const KEPT: u64 = 16 << 20;
/// What a page and each of its events take besides packets, about.
const OVERHEAD: usize = 256;
/// A page ends once it has so many events.
const ENOUGH: usize = 128;

/// A part of a church's history.
pub(crate) struct Page {
    /// What is in the stream at the sequence after which the page begins; `None` if that is not kept any more, and
    /// then there may be a hole.
    pub(crate) anchor: Option<Fingerprint>,
    /// The church's events after it, oldest first.
    pub(crate) events: Vec<Arc<Event>>,
    /// Up to this sequence the church has no other events.
    pub(crate) reach: u64,
    /// The last message of the church up to there, or the anchor where there is none: its sequence, and what it is.
    pub(crate) last: (u64, Option<Fingerprint>),
}

impl Page {
    /// Bytes, about.
    fn weight(&self) -> u32 {
        let events: usize = self.events.iter().map(|event| OVERHEAD + event.packets.size()).sum();
        u32::try_from(OVERHEAD + events).unwrap_or(u32::MAX)
    }
}

/// Which page.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    /// Whose history.
    pub(crate) church: ChurchId,
    /// The stream's creation.
    pub(crate) created: u64,
    /// How often the gateway took a place: what was read before belongs to a stream that may have been another.
    pub(crate) generation: u64,
    /// The page begins after this sequence.
    pub(crate) after: u64,
}

/// Reads pages, each once for all who ask for it.
pub(crate) struct History {
    reader: Reader,
    reads: Semaphore,
    pages: Cache<Key, Arc<Page>>,
}

impl History {
    /// Reads over this connection.
    pub(crate) fn new(reader: Reader) -> Self {
        let pages = Cache::builder().max_capacity(KEPT).weigher(|_, page: &Arc<Page>| page.weight()).build();
        Self { reader, reads: Semaphore::new(READS), pages }
    }

    /// The page that a key names. It need not go on beyond `floor`, which the gateway has passed long ago. One of those
    /// who ask reads it, and the next of them if that one loses patience; once nobody asks any more, nothing is left of
    /// the reading, nor of one that fails.
    ///
    /// # Errors
    /// The stream can't be read now.
    pub(crate) async fn page(&self, key: Key, floor: u64) -> Result<Arc<Page>, ReadError> {
        let reading = async {
            let closed = |_| ReadError::Unavailable("the gateway stops".into());
            let _turn = self.reads.acquire().await.map_err(closed)?;
            read(&self.reader, &key, floor).await.map(Arc::new)
        };
        self.pages.try_get_with_by_ref(&key, reading).await.map_err(|error| ReadError::clone(&error))
    }
}

/// Reads what comes after the anchor, and then the anchor: messages go from the head alone, so if it is still there,
/// nothing after it went. (Replicas drop what is too old each by its own clock: what they differ in is the last moment of
/// a cursor that is as old as the stream.)
async fn read(reader: &Reader, key: &Key, floor: u64) -> Result<Page, ReadError> {
    // Before the reading, too: a replica that lags now may have caught up once it has answered.
    if let Some(extent) = reader.extent_if_replicated().await? {
        if key.after + 1 < extent.first {
            return Ok(Page { anchor: None, events: Vec::new(), reach: key.after, last: (key.after, None) });
        }
        if !extent.is_everywhere(floor) {
            return Err(ReadError::Lagging);
        }
    }
    let subject = subject::every(&key.church);
    let (mut stored, mut reach) = (Vec::<Stored>::new(), key.after);
    while reach < floor && stored.len() < ENOUGH {
        let batch = reader.from(reach + 1, &subject).await?;
        reach = batch.messages.last().map_or(reach, |last| last.sequence);
        // An answer without messages that does not say that it is complete would be asked for for ever.
        if batch.complete || batch.messages.is_empty() {
            reader.surely_has(floor).await?;
            reach = reach.max(floor);
        }
        stored.extend(batch.messages);
    }
    let anchor = at(reader, key.after).await?;
    let last = match stored.last() {
        Some(last) => (last.sequence, Some(decode::fingerprint(last))),
        None => (key.after, anchor),
    };
    Ok(Page { anchor, events: events(key.created, &stored), reach, last })
}

/// What is at a sequence; before the first stand zeros, as long as the first is there.
async fn at(reader: &Reader, sequence: u64) -> Result<Option<Fingerprint>, ReadError> {
    if sequence == 0 {
        return Ok(reader.at(1).await?.map(|_| Fingerprint::default()));
    }
    Ok(reader.at(sequence).await?.map(|stored| decode::fingerprint(&stored)))
}

fn events(created: u64, stored: &[Stored]) -> Vec<Arc<Event>> {
    let mut statuses: HashMap<Uuid, MessageStatus> = HashMap::new();
    let mut events = Vec::with_capacity(stored.len());
    for message in stored {
        let status_before = |event: &ChurchEvent| statuses.get(&event.message_id).copied();
        // What is no event was told of when it came.
        if let (_, Ok(event)) = decode::prepare(created, message, status_before) {
            statuses.insert(event.message, event.status);
            events.push(event);
        }
    }
    events
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::future::join_all;
    use serde_json::value::to_raw_value;
    use time::OffsetDateTime;
    use tokio::time::timeout;

    use super::*;
    use crate::events::packets::{Packet, Packets};

    /// As much as any number of readings may take here, in a clock that does not wait.
    const LONG: Duration = Duration::from_secs(600);

    async fn without_a_broker() -> History {
        let options = async_nats::ConnectOptions::new().retry_on_initial_connect();
        History::new(Reader::new(options.connect("nats://127.0.0.1:1").await.unwrap()))
    }

    fn key(after: u64) -> Key {
        Key { church: "grace".parse().unwrap(), created: 1, generation: 0, after }
    }

    #[tokio::test(start_paused = true)]
    async fn of_readings_that_nobody_waits_for_any_more_nothing_is_left() {
        let history = without_a_broker().await;
        let impatient = (0..10 * READS as u64).map(|n| history.page(key(n), 1_000));
        assert!(timeout(Duration::from_millis(1), join_all(impatient)).await.is_err());
        assert_eq!(history.reads.available_permits(), READS, "they gave their turns back");
        let answer = timeout(LONG, history.page(key(1_000), 2_000)).await.unwrap();
        assert!(matches!(answer, Err(ReadError::Unavailable(_))));
        history.pages.run_pending_tasks().await;
        assert_eq!(history.pages.entry_count(), 0, "what failed is not kept");
    }

    #[tokio::test]
    async fn pages_are_kept_as_long_as_they_take_few_bytes() {
        let history = without_a_broker().await;
        let large = "x".repeat(1 << 20);
        for n in 0..2 * KEPT / large.len() as u64 {
            let packet = Packet { name: "message:sent", body: to_raw_value(&large).unwrap() };
            let event = Event {
                sequence: n,
                church: "grace".parse().unwrap(),
                message: Uuid::nil(),
                status: MessageStatus::Pending,
                at: OffsetDateTime::UNIX_EPOCH,
                packets: Packets { notice: None, all: vec![packet] },
            };
            let page = Page { anchor: None, events: vec![Arc::new(event)], reach: n, last: (n, None) };
            history.pages.insert(key(n), Arc::new(page)).await;
        }
        history.pages.run_pending_tasks().await;
        let weight = history.pages.weighted_size();
        assert!(weight <= KEPT && weight > KEPT / 2, "{weight}");
    }
}
