//! Church ids and the broker's subjects. Subjects are made and parsed here and nowhere else.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The JetStream stream that holds every church's events.
pub const STREAM: &str = "CHURCH";
/// The subjects of [`STREAM`].
pub const STREAM_SUBJECTS: &str = "church.*.*";
/// The revocations among them.
pub const REVOKED_SUBJECTS: &str = "church.*.revoked";
/// What the stream republishes: the source and the destination it appears under once it is stored.
pub const REPUBLISH: (&str, &str) = ("church.>", "live.church.>");
/// The one subscription of a gateway.
pub const LIVE: &str = "live.church.>";
/// Where operators replay stored events to the gateways.
pub const REPLAY: &str = "replay.church";
/// An empty message here says that a commit put a row into the outbox.
pub const RELAY_WAKE: &str = "relay.wake";

/// A subject of the stream that nothing is ever stored under: the relay asks there whether the stream answers.
pub const RELAY_PROBE: &str = "church.relay.probe";

/// A church's id: one NATS token and one room name, `[A-Za-z0-9_-]{1,64}`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ChurchId(std::sync::Arc<str>);

/// A church id that can't be a subject token.
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

/// Which of a church's subjects something travels on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Topic {
    /// A message was accepted.
    Sent,
    /// The status or the counters of a message changed.
    Status,
    /// Tokens were revoked.
    Revoked,
}

impl Topic {
    fn token(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Status => "status",
            Self::Revoked => "revoked",
        }
    }
}

/// `church.<id>.sent`, `church.<id>.status` or `church.<id>.revoked`.
pub fn church(id: &ChurchId, topic: Topic) -> String {
    format!("church.{id}.{}", topic.token())
}

/// `church.<id>.*`: every event of a church.
pub fn every(id: &ChurchId) -> String {
    format!("church.{id}.*")
}

/// The same under `live.`, as the stream republishes what it has stored.
pub fn live(id: &ChurchId, topic: Topic) -> String {
    format!("live.{}", church(id, topic))
}

/// Takes `church.<id>.<topic>` or `live.church.<id>.<topic>` apart. `None` for any other subject.
pub fn parse(subject: &str) -> Option<(ChurchId, Topic)> {
    let mut tokens = subject.strip_prefix("live.").unwrap_or(subject).split('.');
    let ("church", id, topic, None) = (tokens.next()?, tokens.next()?, tokens.next()?, tokens.next()) else {
        return None;
    };
    let topic = match topic {
        "sent" => Topic::Sent,
        "status" => Topic::Status,
        "revoked" => Topic::Revoked,
        _ => return None,
    };
    Some((id.parse().ok()?, topic))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_that_was_made_is_parsed_back() {
        let id: ChurchId = "grace_church-7".parse().unwrap();
        for topic in [Topic::Sent, Topic::Status, Topic::Revoked] {
            assert_eq!(parse(&church(&id, topic)), Some((id.clone(), topic)));
            assert_eq!(parse(&live(&id, topic)), Some((id.clone(), topic)));
        }
    }

    #[test]
    fn a_church_id_that_is_no_subject_token_is_refused() {
        let too_long = "x".repeat(65);
        for id in ["", "a.b", "a b", "*", ">", "grâce", "a\n", "../x", too_long.as_str()] {
            assert_eq!(id.parse::<ChurchId>(), Err(InvalidChurchId), "{id:?}");
        }
        assert!("x".repeat(64).parse::<ChurchId>().is_ok());
    }

    #[test]
    fn a_foreign_subject_is_not_parsed() {
        for subject in
            ["church", "church.7", "church.7.other", "church.7.sent.x", "dead.church.7.sent", "church..sent"]
        {
            assert_eq!(parse(subject), None, "{subject}");
        }
    }
}
