//! Reading the stream: its extent, and stored messages by direct get. The gateway has no consumer.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_nats::{Client, HeaderMap, Message, RequestErrorKind};
use bytes::Bytes;
use common::event::timestamp;
use common::subject::STREAM;
use futures_util::StreamExt as _;
use serde::Deserialize;
use serde_json::json;
use tokio::time::timeout;
use uuid::Uuid;

use crate::stream::cursor::Fingerprint;

/// At most so many messages are asked for at once.
pub(crate) const BATCH: usize = 256;
/// How long one answer may take.
const PATIENCE: Duration = Duration::from_secs(3);
/// A replica's lag is told in operations, and one of them may carry so many messages. So of a replicated stream nothing
/// can be proved about its newest messages; those are to be in memory.
pub(crate) const MESSAGES_OF_AN_OPERATION: u64 = 512;
const SEQUENCE: &str = "Nats-Sequence";
const EXPECTED_LAST_ID: &str = "Nats-Expected-Last-Msg-Id";

/// A message as the stream keeps it.
#[derive(Debug, Clone)]
pub(crate) struct Stored {
    /// Its sequence.
    pub(crate) sequence: u64,
    /// The subject that it was published to.
    pub(crate) subject: String,
    /// The payload.
    pub(crate) payload: Bytes,
    /// The event that its publisher expected right before it, which the stream has checked.
    pub(crate) after: Option<Fingerprint>,
}

impl Stored {
    /// A message that the stream republished; `None` if it did not come from a stream.
    pub(crate) fn republished(message: Message) -> Option<Self> {
        let headers = message.headers.as_ref()?;
        let sequence = header(headers, SEQUENCE)?.parse().ok()?;
        let after = after(headers);
        Some(Self { sequence, subject: message.subject.into_string(), payload: message.payload, after })
    }

    fn from_direct_get(message: Message) -> Option<Self> {
        let headers = message.headers.as_ref()?;
        let sequence = header(headers, SEQUENCE)?.parse().ok()?;
        let subject = header(headers, "Nats-Subject")?.to_owned();
        let after = after(headers);
        Some(Self { sequence, subject, payload: message.payload, after })
    }
}

/// The leader's word on the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Extent {
    /// When it was created, in nanoseconds since the epoch.
    pub(crate) created: u64,
    /// The first sequence that is still there.
    pub(crate) first: u64,
    /// The last sequence; below `first` while the stream is empty.
    pub(crate) last: u64,
    /// How many messages the slowest of the replicas that answer lacks at most; `None` if there are no replicas.
    pub(crate) lag: Option<u64>,
}

impl Extent {
    /// Whether every replica that answers has everything up to a sequence.
    pub(crate) fn is_everywhere(&self, sequence: u64) -> bool {
        self.last.saturating_sub(self.lag.unwrap_or(0)) >= sequence
    }
}

/// What one question for several messages brought.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    /// Oldest first.
    pub(crate) messages: Vec<Stored>,
    /// Whether the server said that nothing more matches.
    pub(crate) complete: bool,
}

/// Why the stream can't be read now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ReadError {
    /// There is none.
    #[error("the broker has no stream {STREAM}; run `ops provision`")]
    NoStream,
    /// An answer came from a replica that may not know the end.
    #[error("a replica of the stream lags behind")]
    Lagging,
    /// No answer came; it may be different in a moment.
    #[error("the stream can't be read: {0}")]
    Unavailable(String),
}

/// Reads the stream on the connection that the live events come on.
#[derive(Clone)]
pub(crate) struct Reader {
    client: Client,
    /// Whether the leader is not alone, and others answer in its place.
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
    /// There is no stream, or its leader does not answer.
    pub(crate) async fn extent(&self) -> Result<Extent, ReadError> {
        let answer = self.ask_leader(Bytes::new()).await?;
        let extent = parse_extent(&answer)?;
        self.replicated.store(extent.lag.is_some(), Ordering::Relaxed);
        Ok(extent)
    }

    /// How many messages the leader has on a subject.
    ///
    /// # Errors
    /// As [`Reader::extent`].
    pub(crate) async fn count(&self, subject: &str) -> Result<u64, ReadError> {
        let request = Bytes::from(json!({"subjects_filter": subject}).to_string());
        parse_count(&self.ask_leader(request).await?)
    }

    /// The leader's word, where it is not alone and others answer in its place.
    ///
    /// # Errors
    /// As [`Reader::extent`].
    pub(crate) async fn extent_if_replicated(&self) -> Result<Option<Extent>, ReadError> {
        if !self.replicated.load(Ordering::Relaxed) {
            return Ok(None);
        }
        self.extent().await.map(Some)
    }

    /// Makes sure that the replica that said just now that nothing more matches has everything up to a sequence: any replica may
    /// have answered, also one that lags behind.
    ///
    /// # Errors
    /// That can't be said now.
    pub(crate) async fn surely_has(&self, sequence: u64) -> Result<(), ReadError> {
        match self.extent_if_replicated().await? {
            Some(extent) if !extent.is_everywhere(sequence) => Err(ReadError::Lagging),
            _ => Ok(()),
        }
    }

    /// The message at a sequence, `None` if the server that answered has none there.
    ///
    /// # Errors
    /// No answer came.
    pub(crate) async fn at(&self, sequence: u64) -> Result<Option<Stored>, ReadError> {
        let stored = self.ask(json!({"seq": sequence}), 1).await?.messages.into_iter().next();
        Ok(stored.filter(|stored| stored.sequence == sequence))
    }

    /// The messages from a sequence on whose subject matches, oldest first, at most [`BATCH`] of them. A server
    /// without batches (before 2.11) gives one at a time. That none came does not prove that there is none.
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
                ReadError::Unavailable("nobody answers for JetStream; is it enabled?".into())
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
    /// Only an answer in a batch says how many are pending.
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
            Some(503) => return Self::Refused("nobody answers for the stream; has it direct get?".into()),
            Some(code) => {
                return Self::Refused(format!("{code} {}", message.description.unwrap_or_default()));
            }
            None => {}
        }
        let headers = message.headers.as_ref();
        let pending = headers.and_then(|headers| header(headers, "Nats-Num-Pending")?.parse().ok());
        match Stored::from_direct_get(message) {
            Some(stored) => Self::Message { stored, pending },
            None => Self::Refused("an answer without a sequence".into()),
        }
    }
}

fn after(headers: &HeaderMap) -> Option<Fingerprint> {
    Some(Fingerprint::of_event(header(headers, EXPECTED_LAST_ID)?.parse::<Uuid>().ok()?))
}

fn header<'a>(headers: &'a HeaderMap, name: &'static str) -> Option<&'a str> {
    headers.get(name).map(|value| value.as_str())
}

/// The leader's answer to STREAM.INFO, as far as it matters here.
#[derive(Deserialize)]
struct Info {
    created: Option<String>,
    state: Option<State>,
    cluster: Option<Cluster>,
    error: Option<ApiError>,
}

#[derive(Deserialize)]
struct State {
    first_seq: u64,
    last_seq: u64,
    /// Messages of each subject, where they were asked for.
    #[serde(default)]
    subjects: BTreeMap<String, u64>,
}

#[derive(Deserialize)]
struct ApiError {
    code: u16,
    description: String,
}

fn parse_info(answer: &[u8]) -> Result<Info, ReadError> {
    let odd = |what: String| ReadError::Unavailable(what);
    let info: Info = serde_json::from_slice(answer).map_err(|error| odd(error.to_string()))?;
    match info.error {
        Some(ApiError { code: 404, .. }) => Err(ReadError::NoStream),
        Some(error) => Err(odd(error.description)),
        None => Ok(info),
    }
}

fn parse_count(answer: &[u8]) -> Result<u64, ReadError> {
    let state = parse_info(answer)?.state;
    Ok(state.map_or(0, |state| state.subjects.values().sum()))
}

fn parse_extent(answer: &[u8]) -> Result<Extent, ReadError> {
    let odd = |what: String| ReadError::Unavailable(what);
    match parse_info(answer)? {
        Info { created: Some(created), state: Some(state), cluster, .. } => {
            let created = timestamp::parse(&created).ok_or_else(|| odd(format!("created {created:?}")))?;
            let created = created.unix_timestamp_nanos() as u64;
            let lag = cluster.and_then(|cluster| cluster.lag());
            Ok(Extent { created, first: state.first_seq, last: state.last_seq, lag })
        }
        _ => Err(odd("an answer without a state".into())),
    }
}

/// Where the stream is replicated to, besides its leader.
#[derive(Deserialize)]
struct Cluster {
    #[serde(default)]
    replicas: Vec<Replica>,
}

#[derive(Deserialize)]
struct Replica {
    #[serde(default)]
    offline: bool,
    #[serde(default)]
    lag: u64,
}

impl Cluster {
    /// Messages that a replica may lack: one operation more than it is told to, because what it has acknowledged it may
    /// not have carried out yet. One that is offline answers nobody.
    fn lag(&self) -> Option<u64> {
        let lags = self.replicas.iter().map(|replica| if replica.offline { 0 } else { replica.lag + 1 });
        lags.max().map(|operations| operations.saturating_mul(MESSAGES_OF_AN_OPERATION))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_extent_is_read_from_the_servers_answer() {
        let answer = br#"{"type":"io.nats.jetstream.api.v1.stream_info_response","config":{},
            "created":"2026-11-22T20:15:31.123456789Z","state":{"messages":3,"first_seq":5,"last_seq":7}}"#;
        let extent = parse_extent(answer).unwrap();
        assert_eq!((extent.first, extent.last, extent.lag), (5, 7, None));
        assert_eq!(extent.created % 1_000_000_000, 123_456_789);
    }

    #[test]
    fn the_slowest_replica_that_answers_counts() {
        let with = |cluster: &str| {
            let answer = format!(
                r#"{{"created":"2026-11-22T20:15:31Z","state":{{"first_seq":1,"last_seq":7}},"cluster":{cluster}}}"#
            );
            parse_extent(answer.as_bytes()).unwrap().lag
        };
        assert_eq!(with(r#"{"leader":"a"}"#), None);
        let replicas = |lag: u64, offline: bool| {
            format!(
                r#"{{"leader":"a","replicas":[{{"name":"b","current":true,"active":1}},
                {{"name":"c","current":false,"offline":{offline},"active":1,"lag":{lag}}}]}}"#
            )
        };
        assert_eq!(with(&replicas(3, false)), Some(4 * MESSAGES_OF_AN_OPERATION));
        assert_eq!(with(&replicas(3, true)), Some(MESSAGES_OF_AN_OPERATION));
    }

    #[test]
    fn the_messages_of_all_matching_subjects_are_counted() {
        let with = |subjects: &str| {
            let state = format!(r#"{{"state":{{"first_seq":1,"last_seq":7{subjects}}}}}"#);
            parse_count(state.as_bytes())
        };
        assert_eq!(with(r#","subjects":{"church.a.revoked":2,"church.b.revoked":1}"#), Ok(3));
        assert_eq!(with(""), Ok(0));
    }

    #[test]
    fn a_missing_stream_says_what_to_do() {
        let answer = br#"{"error":{"code":404,"err_code":10059,"description":"stream not found"}}"#;
        let error = parse_extent(answer).unwrap_err();
        assert!(error.to_string().contains("ops provision"), "{error}");
        assert!(matches!(parse_extent(b"{}"), Err(ReadError::Unavailable(_))));
    }
}
