//! The simulator's book: requests, answers, and every webhook attempt.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;

use common::event::timestamp;
use common::status::Rank;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use time::OffsetDateTime;
use tracing::warn;
use uuid::Uuid;

/// The book keeps the newest so many messages.
pub const CAPACITY: usize = 10_000;
/// And of each the first so many webhook attempts, and as many retrievals.
const MAX_ATTEMPTS: usize = 64;

/// One request to send a message.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// Telnyx's id of the message; of a refused one, an id that nobody was told.
    pub id: Uuid,
    /// When it was asked.
    #[serde(with = "timestamp")]
    pub at: OffsetDateTime,
    /// The number it is for.
    pub to: String,
    /// The request as it came.
    pub request: Value,
    /// Whether the message was taken.
    pub accepted: bool,
    /// HTTP status of the answer; none where the connection was cut instead.
    pub answer: Option<u16>,
    /// How far the message got, whatever became of the webhooks.
    pub status: String,
    /// Every attempt to deliver a webhook.
    pub webhooks: Vec<Attempt>,
    /// Every `GET` of the message.
    #[serde(default)]
    pub retrievals: Vec<Retrieval>,
}

/// One `GET /v2/messages/{id}`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Retrieval {
    /// When it came.
    #[serde(with = "timestamp")]
    pub at: OffsetDateTime,
    /// HTTP status of the answer.
    pub answer: u16,
}

/// One attempt to deliver a webhook.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Attempt {
    /// `data.id`: the same for all attempts and copies.
    pub event_id: Uuid,
    /// `message.sent`, `message.finalized` or `message.read`.
    pub event_type: String,
    /// Where it went.
    pub url: String,
    /// 1 to 3.
    pub attempt: u32,
    /// When it was sent.
    #[serde(with = "timestamp")]
    pub at: OffsetDateTime,
    /// When it was answered, or given up.
    #[serde(with = "timestamp")]
    pub ended_at: OffsetDateTime,
    /// HTTP status of the answer.
    pub answer: Option<u16>,
}

impl Entry {
    /// Where its webhooks go.
    pub fn webhook_url(&self) -> Option<&str> {
        self.request.get("webhook_url")?.as_str()
    }

    /// The recipient's id that the sender put into the webhook address.
    pub fn recipient_id(&self) -> Option<Uuid> {
        self.webhook_url()?.rsplit('/').next()?.parse().ok()
    }
}

/// The newest requests, and the number of all.
#[derive(Debug, Default)]
pub struct Book {
    entries: BTreeMap<u64, Entry>,
    numbers: HashMap<Uuid, u64>,
    asked: u64,
    accepted: u64,
    file: Option<File>,
}

/// A line of the file.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Line {
    Entry(Box<Entry>),
    Status { id: Uuid, status: String },
}

impl Book {
    /// A book in a file, with the content that the file has already.
    ///
    /// # Errors
    /// The file can't be read or written.
    pub(super) fn kept_in(path: &Path) -> anyhow::Result<Self> {
        let mut book = Self::default();
        if path.exists() {
            for line in BufReader::new(File::open(path)?).lines() {
                // The last line may be cut, where the process was killed while it wrote.
                match serde_json::from_str(&line?) {
                    Ok(Line::Entry(entry)) => book.record(*entry),
                    Ok(Line::Status { id, status }) => book.reached(id, &status),
                    Err(_) => {}
                }
            }
        }
        let mut file = File::create(path)?;
        for entry in book.entries.values() {
            writeln!(file, "{}", serde_json::to_string(&Line::Entry(Box::new(entry.clone())))?)?;
        }
        book.file = Some(file);
        Ok(book)
    }

    fn write(&mut self, line: &Line) {
        let Some(file) = &mut self.file else { return };
        let written =
            serde_json::to_string(line).map_err(Into::into).and_then(|line| writeln!(file, "{line}"));
        if let Err(error) = written {
            warn!(error = &error as &dyn std::error::Error, "the simulator's book can't be written any more");
            self.file = None;
        }
    }

    pub(super) fn record(&mut self, entry: Entry) {
        self.write(&Line::Entry(Box::new(entry.clone())));
        self.asked += 1;
        self.accepted += u64::from(entry.accepted);
        self.numbers.insert(entry.id, self.asked);
        self.entries.insert(self.asked, entry);
        if self.entries.len() > CAPACITY
            && let Some((_, oldest)) = self.entries.pop_first()
        {
            self.numbers.remove(&oldest.id);
        }
    }

    /// Notes a message's status, unless it had got further.
    pub(super) fn reached(&mut self, id: Uuid, status: &str) {
        let Some(entry) = self.entry(id) else { return };
        if Rank::from_telnyx(status) > Rank::from_telnyx(&entry.status) {
            status.clone_into(&mut entry.status);
            self.write(&Line::Status { id, status: status.to_owned() });
        }
    }

    pub(super) fn attempted(&mut self, id: Uuid, attempt: Attempt) {
        if let Some(entry) = self.entry(id).filter(|entry| entry.webhooks.len() < MAX_ATTEMPTS) {
            entry.webhooks.push(attempt);
        }
    }

    pub(super) fn retrieved(&mut self, id: Uuid, retrieval: Retrieval) {
        if let Some(entry) = self.entry(id).filter(|entry| entry.retrievals.len() < MAX_ATTEMPTS) {
            entry.retrievals.push(retrieval);
        }
    }

    fn entry(&mut self, id: Uuid) -> Option<&mut Entry> {
        self.numbers.get(&id).and_then(|number| self.entries.get_mut(number))
    }

    /// The message with this id.
    pub fn get(&self, id: Uuid) -> Option<&Entry> {
        self.entries.get(self.numbers.get(&id)?)
    }

    /// The newest accepted message with this id, Telnyx's or the recipient's.
    pub fn find(&self, id: Uuid) -> Option<&Entry> {
        let of_recipient =
            || self.entries.values().rev().find(|entry| entry.accepted && entry.recipient_id() == Some(id));
        self.get(id).or_else(of_recipient)
    }

    /// The kept entries, the oldest first.
    pub fn entries(&self) -> impl DoubleEndedIterator<Item = &Entry> {
        self.entries.values()
    }

    /// The number of send requests, with those no longer kept.
    pub fn asked(&self) -> u64 {
        self.asked
    }

    /// The number of accepted messages, with those no longer kept.
    pub fn accepted(&self) -> u64 {
        self.accepted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(id: Uuid) -> Entry {
        Entry {
            id,
            at: OffsetDateTime::UNIX_EPOCH,
            to: String::new(),
            request: Value::Null,
            accepted: true,
            answer: Some(200),
            status: "queued".into(),
            webhooks: Vec::new(),
            retrievals: Vec::new(),
        }
    }

    #[test]
    fn a_book_in_a_file_survives_a_kill() {
        let folder = tempfile::tempdir().unwrap();
        let (path, ids) = (folder.path().join("book.jsonl"), [Uuid::now_v7(), Uuid::now_v7()]);
        let mut book = Book::kept_in(&path).unwrap();
        ids.iter().for_each(|id| book.record(entry(*id)));
        book.reached(ids[0], "delivered");
        book.reached(ids[0], "sent");
        write!(File::options().append(true).open(&path).unwrap(), "{{\"entry\":{{\"id").unwrap();
        for _ in 0..2 {
            let book = Book::kept_in(&path).unwrap();
            let statuses = ids.map(|id| book.get(id).unwrap().status.clone());
            assert_eq!((statuses, book.accepted()), (["delivered".into(), "queued".into()], 2));
        }
    }

    #[test]
    fn the_book_drops_the_oldest_and_counts_all() {
        let mut book = Book::default();
        let ids: Vec<_> = (0..=CAPACITY).map(|_| Uuid::now_v7()).collect();
        for id in &ids {
            book.record(entry(*id));
        }
        assert!(book.get(ids[0]).is_none() && book.get(ids[1]).is_some());
        assert_eq!(book.entries().count(), CAPACITY);
        assert_eq!(book.asked(), ids.len() as u64);
    }
}
