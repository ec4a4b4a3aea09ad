//! Texts that people send to a church, and the news of one.
//!
//! The news names neither number nor text: the stream keeps it for days, and nothing is erased there. Clients read both
//! by REST.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::event::{FORMAT, timestamp};
use crate::subject::{self, ChurchId, Topic};

/// What a text asks of the sender, if it is one of the words that carriers prescribe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OptOut {
    /// To send no more texts.
    Stop,
    /// To send texts again.
    Start,
    /// To say who sends them.
    Help,
}

impl OptOut {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Stop, Self::Start, Self::Help];

    /// The word in the database and in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Start => "start",
            Self::Help => "help",
        }
    }

    /// Parses [`OptOut::as_str`].
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.as_str() == word)
    }
}

/// The type of an [`InboundEvent`]. There is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum InboundType {
    /// A text came in.
    #[serde(rename = "message:received")]
    Received,
}

impl InboundType {
    /// The name, in JSON and of the Socket.IO event.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Received => "message:received",
        }
    }
}

/// The news of one text, as the outbox and the stream hold it. It has no version, because it never changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InboundEvent {
    /// [`FORMAT`].
    pub v: u8,
    /// The event's id (UUID v7); the stream knows it as `Nats-Msg-Id`.
    pub id: Uuid,
    /// What happened.
    #[serde(rename = "type")]
    pub kind: InboundType,
    /// The church that alone may see it.
    pub church_id: ChurchId,
    /// The text, as the REST API names it.
    pub inbound_id: Uuid,
    /// When Telnyx received the text.
    #[serde(with = "timestamp")]
    pub received_at: OffsetDateTime,
    /// What the text asks of the sender.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opt_out: Option<OptOut>,
    /// When it was recorded.
    #[serde(with = "timestamp")]
    pub timestamp: OffsetDateTime,
}

impl InboundEvent {
    /// The news of a text that is being recorded.
    pub fn new(
        church_id: ChurchId,
        inbound_id: Uuid,
        received_at: OffsetDateTime,
        opt_out: Option<OptOut>,
    ) -> Self {
        Self {
            v: FORMAT,
            id: Uuid::now_v7(),
            kind: InboundType::Received,
            church_id,
            inbound_id,
            received_at,
            opt_out,
            timestamp: OffsetDateTime::now_utc(),
        }
    }

    /// `church.<id>.received`.
    pub fn subject(&self) -> String {
        subject::church(&self.church_id, Topic::Received)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_opt_out_is_read_back_from_its_word() {
        for one in OptOut::ALL {
            assert_eq!(OptOut::parse(one.as_str()), Some(one));
            assert_eq!(serde_json::to_value(one).unwrap(), one.as_str());
        }
        assert_eq!(OptOut::parse("STOP"), None);
    }
}
