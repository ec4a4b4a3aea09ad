//! The event: one change of a message, with a snapshot of the message after it.
//!
//! The wire form is JSON in camel case, and only grows; `golden/` has one file for each kind. A client that has the event's
//! `version` of the message, or a newer one, ignores the event.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::status::{MessageStatus, Tally};
use crate::subject::{self, ChurchId, Topic};

/// The format's version. Rises only when a field changes its meaning.
pub const FORMAT: u8 = 1;
/// Most recipients that [`ChurchEvent::changed`] names. With more, `changedMore` is true.
pub const MAX_CHANGED: usize = 20;

/// The type of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum EventType {
    /// A message was accepted and recorded.
    #[serde(rename = "message:sent")]
    Sent,
    /// The counters changed, or the status to one without an event type of its own.
    #[serde(rename = "message:status_update")]
    StatusUpdate,
    /// The message's status became `delivered`.
    #[serde(rename = "message:delivered")]
    Delivered,
    /// The message's status became `failed`.
    #[serde(rename = "message:failed")]
    Failed,
    /// The message's status became `read`.
    #[serde(rename = "message:read")]
    Read,
}

impl EventType {
    /// The type of a change from one status to another. A message that only failed because it was cancelled makes no
    /// notification.
    pub fn of_change(before: MessageStatus, after: &Tally) -> Self {
        match after.status() {
            status if status == before => Self::StatusUpdate,
            MessageStatus::Failed if after.is_only_cancelled() => Self::StatusUpdate,
            MessageStatus::Delivered => Self::Delivered,
            MessageStatus::Failed => Self::Failed,
            MessageStatus::Read => Self::Read,
            MessageStatus::Pending | MessageStatus::Sent => Self::StatusUpdate,
        }
    }

    /// The name, in JSON and of the Socket.IO event.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sent => "message:sent",
            Self::StatusUpdate => "message:status_update",
            Self::Delivered => "message:delivered",
            Self::Failed => "message:failed",
            Self::Read => "message:read",
        }
    }

    /// The subject's last token for this type.
    pub fn topic(self) -> Topic {
        if self == Self::Sent { Topic::Sent } else { Topic::Status }
    }
}

/// One recipient's new status inside an event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChangedRecipient {
    /// The recipient.
    pub recipient_id: Uuid,
    /// Its status.
    pub status: MessageStatus,
}

/// One event, as the outbox and the stream hold it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChurchEvent {
    /// [`FORMAT`].
    pub v: u8,
    /// The event's id (UUID v7); the stream knows it as `Nats-Msg-Id`.
    pub id: Uuid,
    /// What happened.
    #[serde(rename = "type")]
    pub kind: EventType,
    /// The church that alone may see it.
    pub church_id: ChurchId,
    /// The message.
    pub message_id: Uuid,
    /// The conversation that the message belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conversation_id: Option<String>,
    /// The message's status after the change.
    pub status: MessageStatus,
    /// The message's version after the change; 1 when it was recorded.
    pub version: i64,
    /// All recipients.
    pub recipient_count: i32,
    /// Recipients to whom it was delivered, with those who read it.
    pub delivered_count: i32,
    /// Recipients who failed.
    pub failed_count: i32,
    /// Recipients closed without a receipt.
    pub unconfirmed_count: i32,
    /// Recipients who read it.
    pub read_count: i32,
    /// Recipients, among the failed ones, whose text was cancelled before it was sent.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub cancelled_count: i32,
    /// Why the newest failed recipient failed, as a sentence for users.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure_reason: Option<String>,
    /// The recipients that changed, at most [`MAX_CHANGED`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changed: Vec<ChangedRecipient>,
    /// More recipients changed than are named.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub changed_more: bool,
    /// The message's author.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_id: Option<String>,
    /// When the change was recorded.
    #[serde(with = "timestamp")]
    pub timestamp: OffsetDateTime,
    /// When it happened, according to Telnyx.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "timestamp::option")]
    pub occurred_at: Option<OffsetDateTime>,
}

impl ChurchEvent {
    /// `church.<id>.sent` or `church.<id>.status`.
    pub fn subject(&self) -> String {
        subject::church(&self.church_id, self.kind.topic())
    }

    /// Takes the counters of a tally.
    pub fn set_tally(&mut self, tally: &Tally) {
        self.recipient_count = tally.recipients;
        self.delivered_count = tally.delivered;
        self.failed_count = tally.failed;
        self.unconfirmed_count = tally.unconfirmed;
        self.read_count = tally.read;
        self.cancelled_count = tally.cancelled;
    }

    /// Names the recipients that changed, cut at [`MAX_CHANGED`].
    pub fn set_changed(&mut self, mut changed: Vec<ChangedRecipient>) {
        self.changed_more |= changed.len() > MAX_CHANGED;
        changed.truncate(MAX_CHANGED);
        self.changed = changed;
    }

    /// Drops everything that a client can read from the message itself.
    pub fn reduce(&mut self) {
        self.changed.clear();
        self.changed_more = true;
        self.failure_reason = None;
    }

    /// Takes over the recipients that an older event of the same message names, because that one is left out of the stream.
    pub fn absorb(&mut self, older: Self) {
        let mut changed = std::mem::take(&mut self.changed);
        let named: std::collections::HashSet<Uuid> = changed.iter().map(|c| c.recipient_id).collect();
        changed.extend(older.changed.into_iter().filter(|c| !named.contains(&c.recipient_id)));
        self.changed_more |= older.changed_more;
        self.set_changed(changed);
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(count: &i32) -> bool {
    *count == 0
}

/// RFC 3339 in UTC with milliseconds, `2026-11-22T20:15:31.123Z`.
pub mod timestamp {
    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serializer};
    use time::OffsetDateTime;
    use time::format_description::BorrowedFormatItem;
    use time::format_description::well_known::Rfc3339;
    use time::macros::format_description;

    const MILLIS: &[BorrowedFormatItem<'_>] =
        format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");

    /// The text of a time. A time outside the years 0 to 9999 becomes the epoch.
    pub fn to_text(at: OffsetDateTime) -> String {
        at.to_offset(time::UtcOffset::UTC)
            .format(MILLIS)
            .unwrap_or_else(|_| "1970-01-01T00:00:00.000Z".into())
    }

    /// The time cut to the millisecond, as it is stored and sent, so that a client's time finds the same row again.
    pub fn millis(at: OffsetDateTime) -> OffsetDateTime {
        at.replace_millisecond(at.millisecond()).unwrap_or(at)
    }

    /// Reads any RFC 3339 text.
    pub fn parse(text: &str) -> Option<OffsetDateTime> {
        OffsetDateTime::parse(text, &Rfc3339).ok()
    }

    /// For `#[serde(with)]`.
    pub fn serialize<S: Serializer>(at: &OffsetDateTime, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&to_text(*at))
    }

    /// For `#[serde(with)]`.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<OffsetDateTime, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        parse(&text).ok_or_else(|| D::Error::custom("a timestamp is RFC 3339"))
    }

    /// The same for a time that may be missing.
    pub mod option {
        use serde::{Deserialize as _, Deserializer, Serializer};
        use time::OffsetDateTime;

        /// For `#[serde(with)]`.
        pub fn serialize<S: Serializer>(
            at: &Option<OffsetDateTime>,
            serializer: S,
        ) -> Result<S::Ok, S::Error> {
            match at {
                Some(at) => super::serialize(at, serializer),
                None => serializer.serialize_none(),
            }
        }

        /// For `#[serde(with)]`. Missing or null is `None`; anything else must be a timestamp.
        pub fn deserialize<'de, D: Deserializer<'de>>(
            deserializer: D,
        ) -> Result<Option<OffsetDateTime>, D::Error> {
            Option::<Wrapped>::deserialize(deserializer).map(|at| at.map(|Wrapped(at)| at))
        }

        #[derive(serde::Deserialize)]
        struct Wrapped(#[serde(with = "super")] OffsetDateTime);
    }
}
