//! Events older than memory, read from the stream for clients that were away for long.
//!
//! When a gateway goes down, thousands of its clients resume at once. So each page is read once for all clients that
//! ask for it at about the same time, and only a few reads run at once.

use std::collections::HashMap;
use std::sync::Arc;

use common::event::ChurchEvent;
use common::status::MessageStatus;
use common::subject::{self, ChurchId};
use moka::future::Cache;
use prometheus_client::metrics::histogram::Histogram;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use uuid::Uuid;

use crate::events::{Event, decode};
use crate::stream::{Fingerprint, ReadError, Reader, Stored};

/// Reads that run at once.
const READS: usize = 8;
/// Bytes of the pages that are cached.
const KEPT: u64 = 16 << 20;
/// Bytes that a page and each of its events take besides packets, roughly.
const OVERHEAD: usize = 256;
/// Events after which a page ends.
const ENOUGH: usize = 128;

/// A part of a church's history.
pub(crate) struct Page {
    /// The fingerprint at the sequence after which the page begins. `None` if the stream does not keep that message any
    /// more: then events may be missing.
    pub(crate) anchor: Option<Fingerprint>,
    /// The church's events after it, oldest first.
    pub(crate) events: Vec<Arc<Event>>,
    /// The page has all events of the church up to this sequence.
    pub(crate) reach: u64,
    /// Sequence and fingerprint of the church's last message up to `reach`; the anchor's if it has none.
    pub(crate) last: (u64, Option<Fingerprint>),
}

impl Page {
    /// Bytes, roughly.
    fn weight(&self) -> u32 {
        let events: usize = self.events.iter().map(|event| OVERHEAD + event.size()).sum();
        u32::try_from(OVERHEAD + events).unwrap_or(u32::MAX)
    }
}

/// Names a page.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    /// The church.
    pub(crate) church: ChurchId,
    /// The stream's creation.
    pub(crate) created: u64,
    /// The generation of the memory: a page that was read before it changed may be of another stream.
    pub(crate) generation: u64,
    /// The page begins after this sequence.
    pub(crate) after: u64,
}

/// Reads pages, each once for all clients that ask for it.
pub(crate) struct History {
    reader: Reader,
    reads: Semaphore,
    pages: Cache<Key, Arc<Page>>,
    seconds: Histogram,
}

impl History {
    /// Reads over this connection, and measures how long each read takes.
    pub(crate) fn new(reader: Reader, seconds: Histogram) -> Self {
        let pages = Cache::builder().max_capacity(KEPT).weigher(|_, page: &Arc<Page>| page.weight()).build();
        Self { reader, reads: Semaphore::new(READS), pages, seconds }
    }

    /// The page that a key names. It need not reach beyond `floor`, where memory begins. One of the callers reads it;
    /// if that one gives up, the next goes on. A read that fails or that no caller waits for leaves nothing behind.
    ///
    /// # Errors
    /// The stream can't be read now.
    pub(crate) async fn page(&self, key: Key, floor: u64) -> Result<Arc<Page>, ReadError> {
        let reading = async {
            let closed = |_| ReadError::Unavailable("the gateway is stopping".into());
            let _permit = self.reads.acquire().await.map_err(closed)?;
            let begun = Instant::now();
            let page = read(&self.reader, &key, floor).await.map(Arc::new);
            self.seconds.observe(begun.elapsed().as_secs_f64());
            page
        };
        self.pages.try_get_with_by_ref(&key, reading).await.map_err(|error| ReadError::clone(&error))
    }
}

/// Reads the messages after the anchor, and then the anchor itself. A stream drops its oldest messages first, so if the
/// anchor is still there, none after it was dropped. (Each replica drops old messages by its own clock, so they may
/// disagree for a moment about a cursor that is as old as the stream.)
async fn read(reader: &Reader, key: &Key, floor: u64) -> Result<Page, ReadError> {
    // Checked before the read, too: a replica that lags now may have caught up by the time of the check after it.
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
        // An empty answer that does not claim to be complete must not be repeated for ever.
        if batch.complete || batch.messages.is_empty() {
            reader.confirm_end(floor).await?;
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

/// The fingerprint at a sequence. Sequence 0 has zeros, as long as the stream keeps its first message.
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
        // A message that can't be read was logged when it came.
        if let Some(event) = decode::prepare(created, message, status_before).event {
            statuses.extend(event.message());
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
    use crate::events::{News, Packet, Packets};

    /// Longer than any read here takes; the clock is paused.
    const LONG: Duration = Duration::from_secs(600);

    async fn without_a_broker() -> History {
        let options = async_nats::ConnectOptions::new().retry_on_initial_connect();
        let reader = Reader::new(options.connect("nats://127.0.0.1:1").await.unwrap());
        History::new(reader, Histogram::new([]))
    }

    fn key(after: u64) -> Key {
        Key { church: "grace".parse().unwrap(), created: 1, generation: 0, after }
    }

    #[tokio::test(start_paused = true)]
    async fn an_abandoned_read_leaves_nothing_behind() {
        let history = without_a_broker().await;
        let impatient = (0..10 * READS as u64).map(|n| history.page(key(n), 1_000));
        assert!(timeout(Duration::from_millis(1), join_all(impatient)).await.is_err());
        assert_eq!(history.reads.available_permits(), READS, "they gave their permits back");
        let answer = timeout(LONG, history.page(key(1_000), 2_000)).await.unwrap();
        assert!(matches!(answer, Err(ReadError::Unavailable(_))));
        history.pages.run_pending_tasks().await;
        assert_eq!(history.pages.entry_count(), 0, "a failed read is not cached");
    }

    #[tokio::test]
    async fn the_cache_is_bounded_by_bytes() {
        let history = without_a_broker().await;
        let large = "x".repeat(1 << 20);
        for n in 0..2 * KEPT / large.len() as u64 {
            let packet = Packet { name: "message:sent", body: to_raw_value(&large).unwrap() };
            let event = Event {
                sequence: n,
                church: "grace".parse().unwrap(),
                news: News::Message {
                    id: Uuid::nil(),
                    status: MessageStatus::Pending,
                    at: OffsetDateTime::UNIX_EPOCH,
                    packets: Packets { notice: None, all: vec![packet] },
                },
            };
            let page = Page { anchor: None, events: vec![Arc::new(event)], reach: n, last: (n, None) };
            history.pages.insert(key(n), Arc::new(page)).await;
        }
        history.pages.run_pending_tasks().await;
        let weight = history.pages.weighted_size();
        assert!(weight <= KEPT && weight > KEPT / 2, "{weight}");
    }
}
