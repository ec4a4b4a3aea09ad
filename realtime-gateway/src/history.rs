//! What is older than the memory, read from the stream for clients that were away for long.
//!
//! A gateway that goes down sends thousands of clients here at once. So a part of the stream is read once for all
//! who ask for it at about the same time, and only a few reads are under way at any moment.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use common::event::ChurchEvent;
use common::status::MessageStatus;
use common::subject::{self, ChurchId};
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use tokio::sync::Semaphore;
use uuid::Uuid;

use crate::cursor::Fingerprint;
use crate::intake;
use crate::memory::Event;
use crate::stream::{ReadError, Reader, Stored};

/// Reads that are under way at once.
const READS: usize = 8;
/// Pages are kept for whoever asks next, as long as all together they weigh no more than this: each its events and one.
const KEPT: usize = 4_096;
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
    fn weight(&self) -> usize {
        1 + self.events.len()
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

type Reading = Shared<BoxFuture<'static, Result<Arc<Page>, ReadError>>>;

/// Reads pages, each once.
pub(crate) struct History {
    reader: Reader,
    reads: Arc<Semaphore>,
    pages: Arc<Mutex<Pages>>,
}

#[derive(Default)]
struct Pages {
    kept: HashMap<Key, Kept>,
    /// Oldest first.
    order: VecDeque<Key>,
    weight: usize,
}

struct Kept {
    reading: Reading,
    /// As much as one event until it is read.
    weight: usize,
}

impl Pages {
    fn begin(&mut self, key: &Key, reading: Reading) {
        self.kept.insert(key.clone(), Kept { reading, weight: 1 });
        self.order.push_back(key.clone());
        self.weight += 1;
        self.forget_oldest();
    }

    /// What a reading brought: a page is weighed, and what did not work is forgotten.
    fn end(&mut self, key: &Key, reading: &Reading, page: Option<&Page>) {
        // It may be another reading's turn by now.
        let Some(kept) = self.kept.get_mut(key).filter(|kept| kept.reading.ptr_eq(reading)) else { return };
        match page {
            Some(page) => {
                self.weight = self.weight - kept.weight + page.weight();
                kept.weight = page.weight();
            }
            None => {
                self.forget(key);
                self.order.retain(|kept| kept != key);
            }
        }
        self.forget_oldest();
    }

    fn forget_oldest(&mut self) {
        while self.weight > KEPT
            && let Some(oldest) = self.order.pop_front()
        {
            self.forget(&oldest);
        }
    }

    fn forget(&mut self, key: &Key) {
        self.weight -= self.kept.remove(key).map_or(0, |kept| kept.weight);
    }
}

impl History {
    /// Reads over this connection.
    pub(crate) fn new(reader: Reader) -> Self {
        Self { reader, reads: Arc::new(Semaphore::new(READS)), pages: Arc::default() }
    }

    /// The page that a key names. It need not go on beyond `floor`, which the gateway has passed long ago.
    ///
    /// # Errors
    /// The stream can't be read now.
    pub(crate) async fn page(&self, key: Key, floor: u64) -> Result<Arc<Page>, ReadError> {
        self.reading(key, floor).await
    }

    /// A reading has a task of its own, so that it comes to its end and gives its turn back, whoever loses patience.
    fn reading(&self, key: Key, floor: u64) -> Reading {
        let mut pages = lock(&self.pages);
        if let Some(kept) = pages.kept.get(&key) {
            return kept.reading.clone();
        }
        let (reader, reads, wanted) = (self.reader.clone(), self.reads.clone(), key.clone());
        let reading = async move {
            let closed = |_| ReadError::Unavailable("the gateway stops".into());
            let _turn = reads.acquire_owned().await.map_err(closed)?;
            read(&reader, &wanted, floor).await.map(Arc::new)
        };
        let reading = reading.boxed().shared();
        pages.begin(&key, reading.clone());
        let (all, driven) = (self.pages.clone(), reading.clone());
        tokio::spawn(async move {
            let page = driven.clone().await;
            lock(&all).end(&key, &driven, page.as_deref().ok());
        });
        reading
    }
}

fn lock(pages: &Mutex<Pages>) -> MutexGuard<'_, Pages> {
    pages.lock().unwrap_or_else(PoisonError::into_inner)
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
        Some(last) => (last.sequence, Some(intake::fingerprint(last))),
        None => (key.after, anchor),
    };
    Ok(Page { anchor, events: events(key.created, &stored), reach, last })
}

/// What is at a sequence; before the first stand zeros, as long as the first is there.
async fn at(reader: &Reader, sequence: u64) -> Result<Option<Fingerprint>, ReadError> {
    if sequence == 0 {
        return Ok(reader.at(1).await?.map(|_| Fingerprint::default()));
    }
    Ok(reader.at(sequence).await?.map(|stored| intake::fingerprint(&stored)))
}

fn events(created: u64, stored: &[Stored]) -> Vec<Arc<Event>> {
    let mut statuses: HashMap<Uuid, MessageStatus> = HashMap::new();
    let mut events = Vec::with_capacity(stored.len());
    for message in stored {
        let status_before = |event: &ChurchEvent| statuses.get(&event.message_id).copied();
        // What is no event was told of when it came.
        if let (_, Ok(event)) = intake::prepare(created, message, status_before) {
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
    use tokio::time::timeout;

    use super::*;

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
    async fn readings_that_nobody_waits_for_any_more_give_their_turns_back() {
        let history = without_a_broker().await;
        let impatient = (0..10 * READS as u64).map(|n| history.page(key(n), 1_000));
        assert!(timeout(Duration::from_millis(1), join_all(impatient)).await.is_err());
        let answer = timeout(LONG, history.page(key(1_000), 2_000)).await.unwrap();
        assert!(matches!(answer, Err(ReadError::Unavailable(_))));
        let pages = lock(&history.pages);
        assert!(pages.kept.len() < READS, "what failed is not kept");
    }

    #[test]
    fn the_oldest_pages_are_forgotten_by_their_weight() {
        let mut pages = Pages::default();
        let reading = || futures_util::future::pending().boxed().shared();
        let page = |events| Page { anchor: None, events, reach: 0, last: (0, None) };
        for n in 0..KEPT as u64 {
            let (key, reading) = (key(n), reading());
            pages.begin(&key, reading.clone());
            pages.end(&key, &reading, Some(&page(Vec::new())));
        }
        assert_eq!((pages.kept.len(), pages.weight), (KEPT, KEPT));
        pages.begin(&key(9_999), reading());
        assert_eq!((pages.kept.len(), pages.order.len(), pages.weight), (KEPT, KEPT, KEPT));
        assert!(!pages.kept.contains_key(&key(0)) && pages.kept.contains_key(&key(9_999)));
    }
}
