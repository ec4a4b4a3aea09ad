//! Publishes events to the stream directly, many at once and of any size.

use async_nats::jetstream::Context;
use async_nats::{Client, HeaderMap};
use common::event::{ChurchEvent, EventType, FORMAT};
use common::status::MessageStatus;
use common::subject::ChurchId;
use futures_util::future::join_all;
use serde_json::Value;
use time::OffsetDateTime;
use uuid::Uuid;

/// Events that may await their acknowledgement at the same time.
const STRIDE: usize = 200;

/// A connection as the broker's user for relays.
#[derive(Clone)]
pub struct Announcer {
    stream: Context,
}

impl Announcer {
    pub(crate) fn new(client: Client) -> Self {
        Self { stream: async_nats::jetstream::new(client) }
    }

    /// Announces this many deliveries of a church. Returns their ids once all are in the stream. Each event is about a
    /// message of its own and has two packets. `text` is its failure reason, which gives it a size.
    ///
    /// # Panics
    /// If the stream does not take them.
    pub async fn announce(&self, church: &str, count: usize, text: &str) -> Vec<Uuid> {
        let events: Vec<_> = (0..count).map(|_| delivery(church, text)).collect();
        for stride in events.chunks(STRIDE) {
            let mut stored = Vec::new();
            for event in stride {
                let mut headers = HeaderMap::new();
                headers.insert("Nats-Msg-Id", event.id.to_string());
                let payload = serde_json::to_vec(event).expect("an event is JSON").into();
                let published = self.stream.publish_with_headers(event.subject(), headers, payload).await;
                stored.push(published.expect("the broker is there").into_future());
            }
            for stored in join_all(stored).await {
                stored.expect("the stream stores it");
            }
        }
        events.into_iter().map(|event| event.id).collect()
    }

    /// Publishes JSON that may be no event of this version, with its `id` as the message's.
    ///
    /// # Panics
    /// If the stream does not take it.
    pub async fn publish(&self, subject: &str, message: &Value) {
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Msg-Id", message["id"].as_str().expect("it has an id"));
        let payload = message.to_string().into();
        let published = self.stream.publish_with_headers(subject.to_owned(), headers, payload).await;
        published.expect("the broker is there").await.expect("the stream stores it");
    }
}

fn delivery(church: &str, text: &str) -> ChurchEvent {
    ChurchEvent {
        kind: EventType::Delivered,
        status: MessageStatus::Delivered,
        failure_reason: Some(text.to_owned()).filter(|text| !text.is_empty()),
        ..progress(church.parse().expect("a church id"))
    }
}

/// An event that one of ten recipients was reached: one packet for each client.
pub fn progress(church_id: ChurchId) -> ChurchEvent {
    ChurchEvent {
        v: FORMAT,
        id: Uuid::now_v7(),
        kind: EventType::StatusUpdate,
        church_id,
        message_id: Uuid::now_v7(),
        conversation_id: None,
        status: MessageStatus::Pending,
        version: 2,
        recipient_count: 10,
        delivered_count: 1,
        failed_count: 0,
        cancelled_count: 0,
        unconfirmed_count: 0,
        read_count: 0,
        failure_reason: None,
        changed: Vec::new(),
        changed_more: false,
        user_id: None,
        timestamp: OffsetDateTime::now_utc(),
        occurred_at: None,
    }
}
