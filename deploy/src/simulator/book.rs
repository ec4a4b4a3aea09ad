//! The simulator's book: what it was asked, what it answered, and every webhook attempt.

use std::collections::{BTreeMap, HashMap};

use common::event::timestamp;
use serde::Serialize;
use serde_json::Value;
use time::OffsetDateTime;
use uuid::Uuid;

/// The book keeps the newest so many messages.
pub const CAPACITY: usize = 10_000;
/// And of each the first so many webhook attempts.
const MAX_ATTEMPTS: usize = 64;

/// One request to send a message.
#[derive(Debug, Clone, Serialize)]
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
    /// The newest status that a webhook told of.
    pub status: String,
    /// Every attempt to deliver a webhook.
    pub webhooks: Vec<Attempt>,
}

/// One attempt to deliver a webhook.
#[derive(Debug, Clone, Serialize)]
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

/// The newest requests, and how many there were in all.
#[derive(Debug, Default)]
pub struct Book {
    entries: BTreeMap<u64, Entry>,
    numbers: HashMap<Uuid, u64>,
    asked: u64,
    accepted: u64,
}

impl Book {
    pub(super) fn record(&mut self, entry: Entry) {
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

    pub(super) fn attempted(&mut self, id: Uuid, status: &str, attempt: Attempt) {
        if let Some(entry) = self.numbers.get(&id).and_then(|number| self.entries.get_mut(number)) {
            status.clone_into(&mut entry.status);
            if entry.webhooks.len() < MAX_ATTEMPTS {
                entry.webhooks.push(attempt);
            }
        }
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

    /// What is kept, the oldest first.
    pub fn entries(&self) -> impl DoubleEndedIterator<Item = &Entry> {
        self.entries.values()
    }

    /// How often it was asked to send, forgotten ones included.
    pub fn asked(&self) -> u64 {
        self.asked
    }

    /// How many messages it took, forgotten ones included.
    pub fn accepted(&self) -> u64 {
        self.accepted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_book_forgets_the_oldest_and_counts_them_all() {
        let mut book = Book::default();
        let ids: Vec<_> = (0..=CAPACITY).map(|_| Uuid::now_v7()).collect();
        for id in &ids {
            book.record(Entry {
                id: *id,
                at: OffsetDateTime::UNIX_EPOCH,
                to: String::new(),
                request: Value::Null,
                accepted: true,
                answer: Some(200),
                status: "queued".into(),
                webhooks: Vec::new(),
            });
        }
        assert!(book.get(ids[0]).is_none() && book.get(ids[1]).is_some());
        assert_eq!(book.entries().count(), CAPACITY);
        assert_eq!(book.asked(), ids.len() as u64);
    }
}
