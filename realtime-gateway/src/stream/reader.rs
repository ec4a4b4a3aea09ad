//! Reads the stream by direct get, and asks its leader. The gateway has no consumer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_nats::{Client, Message, RequestErrorKind};
use bytes::Bytes;
use common::subject::STREAM;
use futures_util::StreamExt as _;
use serde_json::json;
use tokio::time::timeout;

use crate::stream::error::ReadError;
use crate::stream::info::{Extent, parse_count, parse_extent};
use crate::stream::message::{Stored, header};

/// Messages that one read asks for.
pub(crate) const BATCH: usize = 256;
/// How long one answer may take.
const PATIENCE: Duration = Duration::from_secs(3);

/// The answer to a read of several messages.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    /// Oldest first.
    pub(crate) messages: Vec<Stored>,
    /// The server said that no later message matches.
    pub(crate) complete: bool,
}

/// Reads the stream over one broker connection.
#[derive(Clone)]
pub(crate) struct Reader {
    client: Client,
    /// Whether replicas may answer in the leader's place.
    replicated: Arc<AtomicBool>,
}

impl Reader {
    /// Reads over this connection.
    pub(crate) fn new(client: Client) -> Self {
        Self { client, replicated: Arc::default() }
    }

    /// Where the stream begins and ends.
    ///
    /// # Errors
    /// The stream does not exist, or its leader does not answer.
    pub(crate) async fn extent(&self) -> Result<Extent, ReadError> {
        let answer = self.ask_leader(Bytes::new()).await?;
        let extent = parse_extent(&answer)?;
        self.replicated.store(extent.lag.is_some(), Ordering::Relaxed);
        Ok(extent)
    }

    /// The number of messages on a subject, as the leader counts.
    ///
    /// # Errors
    /// As [`Reader::extent`].
    pub(crate) async fn count(&self, subject: &str) -> Result<u64, ReadError> {
        let request = Bytes::from(json!({"subjects_filter": subject}).to_string());
        parse_count(&self.ask_leader(request).await?)
    }

    /// Where the stream begins and ends, if replicas may answer reads; `None` if the leader is alone.
    ///
    /// # Errors
    /// As [`Reader::extent`].
    pub(crate) async fn extent_if_replicated(&self) -> Result<Option<Extent>, ReadError> {
        if !self.replicated.load(Ordering::Relaxed) {
            return Ok(None);
        }
        self.extent().await.map(Some)
    }

    /// Confirms an answer that no later message matches: the replica that gave it has everything up to a sequence.
    ///
    /// # Errors
    /// A replica lags, or the leader does not answer.
    pub(crate) async fn confirm_end(&self, sequence: u64) -> Result<(), ReadError> {
        match self.extent_if_replicated().await? {
            Some(extent) if !extent.is_everywhere(sequence) => Err(ReadError::Lagging),
            _ => Ok(()),
        }
    }

    /// The message at a sequence; `None` if the server that answered has none there.
    ///
    /// # Errors
    /// No answer came.
    pub(crate) async fn at(&self, sequence: u64) -> Result<Option<Stored>, ReadError> {
        let stored = self.ask(json!({"seq": sequence}), 1).await?.messages.into_iter().next();
        Ok(stored.filter(|stored| stored.sequence == sequence))
    }

    /// At most [`BATCH`] messages from a sequence on whose subject matches, oldest first. A server before 2.11 returns
    /// one at a time. An empty answer does not prove that no message matches: see [`Reader::confirm_end`].
    ///
    /// # Errors
    /// No answer came.
    pub(crate) async fn from(&self, sequence: u64, subject: &str) -> Result<Batch, ReadError> {
        let sequence = sequence.max(1);
        self.ask(json!({"seq": sequence, "batch": BATCH, "next_by_subj": subject}), BATCH).await
    }

    async fn ask_leader(&self, request: Bytes) -> Result<Bytes, ReadError> {
        let subject = format!("$JS.API.STREAM.INFO.{STREAM}");
        let answer = self.client.request(subject, request).await.map_err(|error| match error.kind() {
            RequestErrorKind::NoResponders => {
                ReadError::Unavailable("no answer from JetStream; is it enabled on the server?".into())
            }
            _ => ReadError::Unavailable(error.to_string()),
        })?;
        Ok(answer.payload)
    }

    async fn ask(&self, request: serde_json::Value, most: usize) -> Result<Batch, ReadError> {
        let unavailable = |what: &dyn std::fmt::Display| ReadError::Unavailable(what.to_string());
        let inbox = self.client.new_inbox();
        let mut answers = self.client.subscribe(inbox.clone()).await.map_err(|e| unavailable(&e))?;
        let subject = format!("$JS.API.DIRECT.GET.{STREAM}");
        let request = Bytes::from(request.to_string());
        self.client.publish_with_reply(subject, inbox, request).await.map_err(|e| unavailable(&e))?;
        let mut batch = Batch::default();
        while batch.messages.len() < most {
            let answer = timeout(PATIENCE, answers.next()).await;
            let message = answer.ok().flatten().ok_or_else(|| unavailable(&"no answer in time"))?;
            match Answer::of(message) {
                Answer::Message { stored, pending } => {
                    batch.messages.push(stored);
                    batch.complete = pending == Some(0);
                    if pending.is_none_or(|pending| pending == 0) {
                        break;
                    }
                }
                Answer::End => {
                    batch.complete |= batch.messages.is_empty();
                    break;
                }
                Answer::Refused(why) => return Err(ReadError::Unavailable(why)),
            }
        }
        Ok(batch)
    }
}

enum Answer {
    /// `pending` is missing where the server has no batches.
    Message {
        stored: Stored,
        pending: Option<u64>,
    },
    End,
    Refused(String),
}

impl Answer {
    fn of(message: Message) -> Self {
        match message.status.map(|status| status.as_u16()) {
            // 204 ends a batch, 404 says that nothing matches.
            Some(204 | 404) => return Self::End,
            Some(503) => return Self::Refused("no answer from the stream; does it allow direct get?".into()),
            Some(code) => {
                return Self::Refused(format!("{code} {}", message.description.unwrap_or_default()));
            }
            None => {}
        }
        let headers = message.headers.as_ref();
        let pending = headers.and_then(|headers| header(headers, "Nats-Num-Pending")?.parse().ok());
        match Stored::from_direct_get(message) {
            Some(stored) => Self::Message { stored, pending },
            None => Self::Refused("the answer has no sequence".into()),
        }
    }
}
