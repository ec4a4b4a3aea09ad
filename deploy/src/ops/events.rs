//! Finds events in the stream.

use std::time::Duration;

use anyhow::Context as _;
use async_nats::header::NATS_MESSAGE_ID;
use async_nats::jetstream;
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, pull};
use async_nats::jetstream::stream::Stream;
use common::event::ChurchEvent;
use common::subject::{self, ChurchId, STREAM};
use futures_util::StreamExt as _;
use time::OffsetDateTime;
use uuid::Uuid;

/// Begins the names of consumers that only read.
const READING: &str = "ops-read-";
/// Longest wait for an answer of the broker.
const PATIENCE: Duration = Duration::from_secs(5);
/// Events that one read asks for.
const BATCH: usize = 500;
/// The broker removes a consumer by itself if its reader is gone for this long.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(60);

/// An event as the stream has it.
#[derive(Debug)]
pub(super) struct StoredEvent {
    pub(super) sequence: u64,
    pub(super) at: OffsetDateTime,
    pub(super) event: ChurchEvent,
}

/// The last event of a message, as far as is recorded.
#[derive(Debug, Clone, Copy)]
pub(super) struct Last {
    /// The message's version.
    pub(super) version: i64,
    /// The highest sequence of its events. That of an older version is higher after a repair.
    pub(super) sequence: u64,
}

/// The stream, as the broker's user `ops` sees it.
pub(super) async fn stream(client: async_nats::Client) -> anyhow::Result<Stream> {
    let mut jetstream = jetstream::new(client);
    jetstream.set_timeout(PATIENCE);
    jetstream.get_stream(STREAM).await.context("can't read the stream CHURCH; is it there (`ops provision`)?")
}

/// The events of a message, oldest first: those of its church from a moment on, until the last one or the end of the
/// stream.
pub(super) async fn of_message(
    stream: &Stream,
    church: &ChurchId,
    message: Uuid,
    (since, last): (OffsetDateTime, Option<Last>),
) -> anyhow::Result<Vec<StoredEvent>> {
    let since = DeliverPolicy::ByStartTime { start_time: since };
    let config = pull::Config { filter_subject: subject::every(church), ..reading(since) };
    let (consumer, name) = consumer(stream, config).await?;
    let found = read(&consumer, message, last).await;
    // The broker removes it later if this fails.
    let _ = stream.delete_consumer(&name).await;
    found
}

/// The ids of the stream's events from one sequence to another, with their sequences. A message without an id has an
/// empty one.
pub(super) async fn ids_between(
    stream: &Stream,
    first: u64,
    last: u64,
) -> anyhow::Result<Vec<(u64, String)>> {
    let config = pull::Config {
        headers_only: true,
        ..reading(DeliverPolicy::ByStartSequence { start_sequence: first })
    };
    let (consumer, name) = consumer(stream, config).await?;
    let found = read_ids(&consumer, last).await;
    // The broker removes it later if this fails.
    let _ = stream.delete_consumer(&name).await;
    found
}

/// How many events of a church the stream holds since a moment.
pub(super) async fn count_since(
    stream: &Stream,
    church: &ChurchId,
    since: OffsetDateTime,
) -> anyhow::Result<u64> {
    let since = DeliverPolicy::ByStartTime { start_time: since };
    let config = pull::Config { filter_subject: subject::every(church), ..reading(since) };
    let (consumer, name) = consumer(stream, config).await?;
    let count = consumer.cached_info().num_pending;
    // The broker removes it later if this fails.
    let _ = stream.delete_consumer(&name).await;
    Ok(count)
}

async fn read_ids(consumer: &Reading, last: u64) -> anyhow::Result<Vec<(u64, String)>> {
    let (mut found, mut pending) = (Vec::new(), consumer.cached_info().num_pending);
    while pending > 0 {
        let fetch = consumer.fetch().max_messages(BATCH).expires(PATIENCE);
        let mut messages = fetch.messages().await.context("can't read the stream CHURCH")?;
        let before = pending;
        while let Some(stored) = messages.next().await {
            let stored = stored.map_err(|error| anyhow::anyhow!("can't read the stream CHURCH: {error}"))?;
            let info = stored.info().map_err(|error| anyhow::anyhow!("an answer without place: {error}"))?;
            pending = info.pending;
            if info.stream_sequence > last {
                return Ok(found);
            }
            let id = stored.headers.as_ref().and_then(|headers| headers.get(NATS_MESSAGE_ID));
            found.push((info.stream_sequence, id.map(ToString::to_string).unwrap_or_default()));
        }
        anyhow::ensure!(pending < before, "the broker stopped answering while the stream was read");
    }
    Ok(found)
}

/// A consumer that reads.
pub(super) type Reading = jetstream::consumer::Consumer<pull::Config>;

/// How a consumer reads: it leaves no trace, and the broker removes it if its reader is gone.
pub(super) fn reading(deliver_policy: DeliverPolicy) -> pull::Config {
    pull::Config {
        deliver_policy,
        ack_policy: AckPolicy::None,
        inactive_threshold: FORGOTTEN_AFTER,
        memory_storage: true,
        num_replicas: 1,
        ..pull::Config::default()
    }
}

/// Makes a consumer of a name of its own. Remove it afterwards.
pub(super) async fn consumer(stream: &Stream, config: pull::Config) -> anyhow::Result<(Reading, String)> {
    let name = format!("{READING}{}", Uuid::now_v7().simple());
    let config = pull::Config { name: Some(name.clone()), ..config };
    let made = stream.create_consumer(config).await;
    Ok((made.context("can't read the stream CHURCH")?, name))
}

async fn read(consumer: &Reading, message: Uuid, last: Option<Last>) -> anyhow::Result<Vec<StoredEvent>> {
    let (mut found, mut pending) = (Vec::new(), consumer.cached_info().num_pending);
    while pending > 0 {
        let fetch = consumer.fetch().max_messages(BATCH).expires(PATIENCE);
        let mut messages = fetch.messages().await.context("can't read the stream CHURCH")?;
        let before = pending;
        while let Some(stored) = messages.next().await {
            let stored = stored.map_err(|error| anyhow::anyhow!("can't read the stream CHURCH: {error}"))?;
            let info = stored.info().map_err(|error| anyhow::anyhow!("an answer without place: {error}"))?;
            let (sequence, at) = (info.stream_sequence, info.published);
            pending = info.pending;
            // The news of a text, and what a newer version announces, are no events of a message.
            let Ok(event) = serde_json::from_slice::<ChurchEvent>(&stored.payload) else { continue };
            if event.message_id != message {
                continue;
            }
            let is_last = last.is_some_and(|last| event.version >= last.version && sequence >= last.sequence);
            found.push(StoredEvent { sequence, at, event });
            if is_last {
                return Ok(found);
            }
        }
        anyhow::ensure!(pending < before, "the broker stopped answering while the stream was read");
    }
    Ok(found)
}
