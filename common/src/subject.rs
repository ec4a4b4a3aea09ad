//! Church ids and the broker's subjects. Subjects are made and parsed only here.
//!
//! ```
//! use common::subject::{self, ChurchId, Topic};
//!
//! let grace: ChurchId = "grace".parse()?;
//! assert_eq!(subject::church(&grace, Topic::Status), "church.grace.status");
//! assert_eq!(subject::parse("live.church.grace.status"), Some((grace, Topic::Status)));
//! assert_eq!(subject::parse("church.grace.other"), None);
//! # Ok::<(), subject::InvalidChurchId>(())
//! ```

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The JetStream stream that holds every church's events.
pub const STREAM: &str = "CHURCH";
/// The subjects of [`STREAM`].
pub const STREAM_SUBJECTS: &str = "church.*.*";
/// The revocations among them.
pub const REVOKED_SUBJECTS: &str = "church.*.revoked";
/// The subjects that the stream republishes after it stored an event, and where.
pub const REPUBLISH: (&str, &str) = ("church.>", "live.church.>");
/// What a gateway subscribes to.
pub const LIVE: &str = "live.church.>";
/// Where operators replay stored events to the gateways.
pub const REPLAY: &str = "replay.church";
/// An empty message here says that a commit put a row into the outbox.
pub const RELAY_WAKE: &str = "relay.wake";
/// A subject of the stream under which nothing is ever stored. The relay probes the stream with it.
pub const RELAY_PROBE: &str = "church.relay.probe";

/// A church's id: one NATS token and one room name, `[A-Za-z0-9_-]{1,64}`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ChurchId(std::sync::Arc<str>);

/// A text that can't be a church id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a church id is 1 to 64 characters of A-Z, a-z, 0-9, _ and -, because it names the church's subjects and room"
)]
pub struct InvalidChurchId;

impl ChurchId {
    /// Longest church id, in bytes.
    pub const MAX_LEN: usize = 64;

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ChurchId {
    type Err = InvalidChurchId;

    fn from_str(text: &str) -> Result<Self, InvalidChurchId> {
        let fits = (1..=Self::MAX_LEN).contains(&text.len());
        let token = text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
        if fits && token { Ok(Self(text.into())) } else { Err(InvalidChurchId) }
    }
}

impl TryFrom<String> for ChurchId {
    type Error = InvalidChurchId;

    fn try_from(text: String) -> Result<Self, InvalidChurchId> {
        text.parse()
    }
}

impl From<ChurchId> for String {
    fn from(id: ChurchId) -> Self {
        id.as_str().to_owned()
    }
}

impl fmt::Display for ChurchId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for ChurchId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The last token of a church's subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Topic {
    /// A message was accepted.
    Sent,
    /// The status or the counters of a message changed.
    Status,
    /// Somebody sent a text to the church.
    Received,
    /// Tokens were revoked.
    Revoked,
}

impl Topic {
    fn token(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Status => "status",
            Self::Received => "received",
            Self::Revoked => "revoked",
        }
    }
}

/// `church.<id>.sent`, `church.<id>.status`, `church.<id>.received` or `church.<id>.revoked`.
pub fn church(id: &ChurchId, topic: Topic) -> String {
    format!("church.{id}.{}", topic.token())
}

/// `church.<id>.*`: all subjects of a church.
pub fn every(id: &ChurchId) -> String {
    format!("church.{id}.*")
}

/// The same under `live.`, where the stream republishes stored events.
pub fn live(id: &ChurchId, topic: Topic) -> String {
    format!("live.{}", church(id, topic))
}

/// Parses `church.<id>.<topic>` or `live.church.<id>.<topic>`. `None` for any other subject.
pub fn parse(subject: &str) -> Option<(ChurchId, Topic)> {
    let (church, topic) = tokens(subject)?;
    let topic = match topic {
        "sent" => Topic::Sent,
        "status" => Topic::Status,
        "received" => Topic::Received,
        "revoked" => Topic::Revoked,
        _ => return None,
    };
    Some((church, topic))
}

/// The church of a subject, also where this version does not know the topic.
pub fn church_of(subject: &str) -> Option<ChurchId> {
    tokens(subject).map(|(church, _)| church)
}

fn tokens(subject: &str) -> Option<(ChurchId, &str)> {
    let mut tokens = subject.strip_prefix("live.").unwrap_or(subject).split('.');
    match (tokens.next()?, tokens.next()?, tokens.next()?, tokens.next()) {
        ("church", id, topic, None) => Some((id.parse().ok()?, topic)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_is_parsed_back() {
        let id: ChurchId = "grace_church-7".parse().unwrap();
        for topic in [Topic::Sent, Topic::Status, Topic::Received, Topic::Revoked] {
            assert_eq!(parse(&church(&id, topic)), Some((id.clone(), topic)));
            assert_eq!(parse(&live(&id, topic)), Some((id.clone(), topic)));
        }
    }

    #[test]
    fn a_church_id_must_be_a_subject_token() {
        let too_long = "x".repeat(65);
        for id in ["", "a.b", "a b", "*", ">", "grâce", "a\n", "../x", too_long.as_str()] {
            assert_eq!(id.parse::<ChurchId>(), Err(InvalidChurchId), "{id:?}");
        }
        assert!("x".repeat(64).parse::<ChurchId>().is_ok());
    }

    #[test]
    fn other_subjects_are_not_parsed() {
        for subject in
            ["church", "church.7", "church.7.other", "church.7.sent.x", "dead.church.7.sent", "church..sent"]
        {
            assert_eq!(parse(subject), None, "{subject}");
        }
    }

    #[test]
    fn the_church_of_an_unknown_topic_is_known() {
        let grace = Some("grace".parse().unwrap());
        assert_eq!(church_of("live.church.grace.invented"), grace);
        assert_eq!(church_of("church.grace.sent"), grace);
        for subject in ["church.grace", "church.a b.sent", "church.grace.sent.x", "other.grace.sent"] {
            assert_eq!(church_of(subject), None, "{subject}");
        }
    }
}
