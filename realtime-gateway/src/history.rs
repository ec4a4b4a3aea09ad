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
    pages: Mutex<Pages>,
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
        Self { reader, reads: Arc::new(Semaphore::new(READS)), pages: Mutex::default() }
    }

    /// The page that a key names. It need not go on beyond `floor`, which the gateway has passed long ago.
    ///
    /// # Errors
    /// The stream can't be read now.
    pub(crate) async fn page(&self, key: Key, floor: u64) -> Result<Arc<Page>, ReadError> {
        let reading = self.reading(&key, floor);
        let page = reading.clone().await;
        self.pages().end(&key, &reading, page.as_deref().ok());
        page
    }

    fn reading(&self, key: &Key, floor: u64) -> Reading {
        let mut pages = self.pages();
        if let Some(kept) = pages.kept.get(key) {
            return kept.reading.clone();
        }
        let (reader, reads, wanted) = (self.reader.clone(), self.reads.clone(), key.clone());
        let reading = async move {
            let closed = |_| ReadError::Unavailable("the gateway stops".into());
            let _turn = reads.acquire_owned().await.map_err(closed)?;
            read(&reader, &wanted, floor).await.map(Arc::new)
        };
        let reading = reading.boxed().shared();
        pages.begin(key, reading.clone());
        reading
    }

    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads from the anchor on, so that a cursor on one of the church's own events costs no question of its own.
async fn read(reader: &Reader, key: &Key, floor: u64) -> Result<Page, ReadError> {
    let subject = subject::every(&key.church);
    let (mut anchor, mut stored) = (None, Vec::new());
    let (mut next, mut complete, mut batches) = (key.after, false, 0);
    while !complete && stored.len() < ENOUGH && next <= floor {
        let batch = reader.from(next, &subject).await?;
        batches += 1;
        next = batch.messages.last().map_or(next, |last| last.sequence + 1);
        // An answer without messages that does not say that it is complete would be asked for for ever.
        complete = batch.complete || batch.messages.is_empty();
        for message in batch.messages {
            if message.sequence == key.after {
                anchor = Some(intake::fingerprint(&message));
            } else {
                stored.push(message);
            }
        }
    }
    if anchor.is_none() || batches > 1 {
        // Asked after the reading: messages go from the head alone, so if it is still there, nothing after it went.
        anchor = at(reader, key.after).await?;
    }
    let last = match stored.last() {
        Some(last) => (last.sequence, Some(intake::fingerprint(last))),
        None => (key.after, anchor),
    };
    if complete {
        reader.surely_has(floor).await?;
    }
    let reach = if complete || next > floor { last.0.max(floor) } else { last.0 };
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
