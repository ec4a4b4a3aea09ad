//! Reading rows: the same for both databases, whatever types their columns have.

use std::time::Duration;

use time::OffsetDateTime;
use uuid::Uuid;

use super::ledger::{MessageRow, ParkedRow, RecipientRow};
use super::sending::claims::{Queue, WaitingSender};
use super::sending::pace::Pace;
use super::{
    Announced, Ask, Attempt, AttemptId, DeliveryReport, Failure, Message, OutboxRow, OutboxState, Recipient,
    RefusedEvent, Sender, StoreError,
};
use crate::revocation::Revocation;
use crate::status::{MessageStatus, Rank, RecipientState, Tally};
use crate::subject::ChurchId;

/// Columns are always named: one that is added while this version runs must not reach its prepared statements.
macro_rules! select {
    (messages, $rest:expr) => {
        concat!(
            "select id, church_id, author_id, conversation_id, content, target_type, status, version, recipient_count, \
             delivered_count, failed_count, unconfirmed_count, read_count, failure_reason, sent_at, created_at, \
             updated_at, estimated_seconds from messages ",
            $rest
        )
    };
    (recipients, $rest:expr) => {
        concat!(
            "select id, message_id, ordinal, phone, member_id, first_name, last_name, rank, closed, provider_id, due_at, \
             attempted_at, claim_id, sender, ask_at, tried, failure_code, failure_reason, delivered_at, failed_at from recipients ",
            $rest
        )
    };
    (senders, $rest:expr) => {
        concat!("select church_id, number, messaging_profile_id, rate from senders ", $rest)
    };
}
pub(super) use select;

/// The columns of one row by name.
pub(super) trait Columns {
    fn opt_id(&self, name: &str) -> Result<Option<Uuid>, StoreError>;
    fn opt_time(&self, name: &str) -> Result<Option<OffsetDateTime>, StoreError>;
    fn opt_text(&self, name: &str) -> Result<Option<String>, StoreError>;
    fn opt_number(&self, name: &str) -> Result<Option<i64>, StoreError>;
    fn fraction(&self, name: &str) -> Result<f64, StoreError>;
    fn flag(&self, name: &str) -> Result<bool, StoreError>;

    fn id(&self, name: &str) -> Result<Uuid, StoreError> {
        self.opt_id(name)?.ok_or_else(|| missing(name))
    }

    fn number(&self, name: &str) -> Result<i64, StoreError> {
        self.opt_number(name)?.ok_or_else(|| missing(name))
    }

    fn time(&self, name: &str) -> Result<OffsetDateTime, StoreError> {
        self.opt_time(name)?.ok_or_else(|| missing(name))
    }

    fn text(&self, name: &str) -> Result<String, StoreError> {
        self.opt_text(name)?.ok_or_else(|| missing(name))
    }

    fn count(&self, name: &str) -> Result<i32, StoreError> {
        i32::try_from(self.number(name)?).map_err(|_| unreadable(name))
    }
}

fn missing(name: &str) -> StoreError {
    StoreError::Unreadable(format!("{name} is missing"))
}

fn unreadable(name: &str) -> StoreError {
    StoreError::Unreadable(format!("{name} has no known value"))
}

/// A row that can be read from columns.
pub(super) trait Read: Sized {
    fn read(row: &impl Columns) -> Result<Self, StoreError>;
}

/// Reads all rows.
pub(super) fn read_all<T: Read, C: Columns>(rows: Vec<C>) -> Result<Vec<T>, StoreError> {
    rows.iter().map(T::read).collect()
}

fn church(row: &impl Columns) -> Result<ChurchId, StoreError> {
    row.text("church_id")?.parse().map_err(|_| unreadable("church_id"))
}

fn tally(row: &impl Columns) -> Result<Tally, StoreError> {
    Ok(Tally {
        recipients: row.count("recipient_count")?,
        delivered: row.count("delivered_count")?,
        failed: row.count("failed_count")?,
        unconfirmed: row.count("unconfirmed_count")?,
        read: row.count("read_count")?,
    })
}

fn status(row: &impl Columns) -> Result<MessageStatus, StoreError> {
    MessageStatus::parse(&row.text("status")?).ok_or_else(|| unreadable("status"))
}

fn state(row: &impl Columns) -> Result<RecipientState, StoreError> {
    let rank = i16::try_from(row.number("rank")?).map_err(|_| unreadable("rank"))?;
    let rank = Rank::from_i16(rank).ok_or_else(|| unreadable("rank"))?;
    Ok(RecipientState { rank, closed: row.flag("closed")? })
}

/// The condition for [`RecipientState::word`] to be a status; both databases read it.
pub(super) fn of_status(status: MessageStatus) -> &'static str {
    match status {
        MessageStatus::Pending => "rank < 4 and not closed",
        MessageStatus::Sent => "rank < 4 and closed",
        MessageStatus::Failed => "rank = 4",
        MessageStatus::Delivered => "rank = 5",
        MessageStatus::Read => "rank = 6",
    }
}

fn failure(row: &impl Columns) -> Result<Option<Failure>, StoreError> {
    let code = row.opt_text("failure_code")?;
    let reason = row.opt_text("failure_reason")?;
    Ok(code.zip(reason).map(|(code, reason)| Failure { code, reason }))
}

impl Read for Message {
    fn read(row: &impl Columns) -> Result<Self, StoreError> {
        Ok(Self {
            id: row.id("id")?,
            church_id: church(row)?,
            author_id: row.text("author_id")?,
            conversation_id: row.opt_text("conversation_id")?,
            content: row.text("content")?,
            target_type: row.text("target_type")?,
            status: status(row)?,
            version: row.number("version")?,
            tally: tally(row)?,
            failure_reason: row.opt_text("failure_reason")?,
            sent_at: row.opt_time("sent_at")?,
            created_at: row.time("created_at")?,
            updated_at: row.time("updated_at")?,
            estimated_seconds: row.opt_number("estimated_seconds")?,
        })
    }
}

impl Read for MessageRow {
    fn read(row: &impl Columns) -> Result<Self, StoreError> {
        Ok(Self {
            id: row.id("id")?,
            church_id: church(row)?,
            author_id: row.text("author_id")?,
            conversation_id: row.opt_text("conversation_id")?,
            status: status(row)?,
            version: row.number("version")?,
            tally: tally(row)?,
            failure_reason: row.opt_text("failure_reason")?,
            sent_at: row.opt_time("sent_at")?,
            updated_at: row.time("updated_at")?,
        })
    }
}

impl Read for Recipient {
    fn read(row: &impl Columns) -> Result<Self, StoreError> {
        Ok(Self {
            id: row.id("id")?,
            ordinal: row.number("ordinal")?,
            phone: row.text("phone")?,
            member_id: row.opt_text("member_id")?,
            first_name: row.opt_text("first_name")?,
            last_name: row.opt_text("last_name")?,
            state: state(row)?,
            delivered_at: row.opt_time("delivered_at")?,
            failed_at: row.opt_time("failed_at")?,
            failure: failure(row)?,
        })
    }
}

impl Read for RecipientRow {
    fn read(row: &impl Columns) -> Result<Self, StoreError> {
        Ok(Self {
            id: row.id("id")?,
            message_id: row.id("message_id")?,
            phone: row.text("phone")?,
            state: state(row)?,
            provider_id: row.opt_text("provider_id")?,
            due_at: row.time("due_at")?,
            attempted_at: row.opt_time("attempted_at")?,
            claim_id: row.opt_id("claim_id")?,
            sender: row.text("sender")?,
            ask_at: row.opt_time("ask_at")?,
            tried: row.count("tried")?,
            failure: failure(row)?,
            delivered_at: row.opt_time("delivered_at")?,
            failed_at: row.opt_time("failed_at")?,
        })
    }
}

impl Read for ParkedRow {
    fn read(row: &impl Columns) -> Result<Self, StoreError> {
        let report = row.text("report")?;
        let report: DeliveryReport = serde_json::from_str(&report).map_err(|_| unreadable("report"))?;
        Ok(Self { event_id: row.text("event_id")?, occurred_at: row.opt_time("occurred_at")?, report })
    }
}

impl Read for Attempt {
    fn read(row: &impl Columns) -> Result<Self, StoreError> {
        let media_urls = row.text("media_urls")?;
        Ok(Self {
            id: AttemptId { recipient_id: row.id("id")?, claim_id: row.id("claim_id")? },
            recipient_id: row.id("id")?,
            church_id: church(row)?,
            sender: row.text("sender")?,
            phone: row.text("phone")?,
            content: row.text("content")?,
            media_urls: serde_json::from_str(&media_urls).map_err(|_| unreadable("media_urls"))?,
            from_number: row.opt_text("from_number")?,
            messaging_profile_id: row.opt_text("messaging_profile_id")?,
            tried: row.count("tried")?,
        })
    }
}

impl Read for Sender {
    fn read(row: &impl Columns) -> Result<Self, StoreError> {
        Ok(Self {
            church_id: church(row)?,
            number: row.text("number")?,
            messaging_profile_id: row.opt_text("messaging_profile_id")?,
            rate: row.opt_number("rate")?.and_then(|rate| u32::try_from(rate).ok()),
        })
    }
}

impl Read for WaitingSender {
    fn read(row: &impl Columns) -> Result<Self, StoreError> {
        Ok(Self { sender: row.text("sender")?, due_at: row.time("due_at")? })
    }
}

impl Read for Queue {
    fn read(row: &impl Columns) -> Result<Self, StoreError> {
        Ok(Self {
            all: row.number("everybody")?,
            of_church: row.number("of_church")?,
            of_sender: row.number("of_sender")?,
            churches: row.number("churches")?,
        })
    }
}

impl Read for Pace {
    fn read(row: &impl Columns) -> Result<Self, StoreError> {
        Ok(Self {
            sender: row.text("sender")?,
            rate: row.opt_number("rate")?,
            tokens: row.fraction("tokens")?,
            refilled_at: row.time("refilled_at")?,
            held_until: row.opt_time("held_until")?,
            reason: row.opt_text("reason")?,
            setbacks: row.count("setbacks")?,
            noted_at: row.opt_time("noted_at")?,
            served_at: row.opt_time("served_at")?,
        })
    }
}

impl Read for Ask {
    fn read(row: &impl Columns) -> Result<Self, StoreError> {
        Ok(Self {
            recipient_id: row.id("id")?,
            provider_id: row.text("provider_id")?,
            phone: row.text("phone")?,
            attempted_at: row.time("attempted_at")?,
            asked: row.count("asked")?,
        })
    }
}

impl Read for OutboxRow {
    fn read(row: &impl Columns) -> Result<Self, StoreError> {
        Ok(Self {
            position: row.number("position")?,
            event_id: row.id("event_id")?,
            message_id: row.id("message_id")?,
            progress: row.flag("progress")?,
            subject: row.text("subject")?,
            payload: row.text("payload")?,
        })
    }
}

impl Read for Announced {
    fn read(row: &impl Columns) -> Result<Self, StoreError> {
        Ok(Self {
            position: row.number("position")?,
            event_id: row.id("event_id")?,
            stream_seq: row.number("stream_seq")?,
        })
    }
}

impl Read for OutboxState {
    fn read(row: &impl Columns) -> Result<Self, StoreError> {
        // A row of a machine whose clock is ahead is as new as can be.
        let oldest = u64::try_from(row.number("oldest_ms")?).unwrap_or(0);
        Ok(Self {
            waiting: row.number("waiting")?,
            oldest: Duration::from_millis(oldest),
            refused: row.number("refused")?,
            led: row.flag("led")?,
        })
    }
}

impl Read for RefusedEvent {
    fn read(row: &impl Columns) -> Result<Self, StoreError> {
        Ok(Self {
            event_id: row.id("event_id")?,
            message_id: row.id("message_id")?,
            subject: row.text("subject")?,
            reason: row.text("reason")?,
        })
    }
}

impl Read for Revocation {
    fn read(row: &impl Columns) -> Result<Self, StoreError> {
        Ok(Self::standing(church(row)?, &row.text("user_id")?, row.number("issued_until")?))
    }
}

impl Read for super::Audit {
    fn read(row: &impl Columns) -> Result<Self, StoreError> {
        Ok(Self {
            accepted: row.number("accepted")?,
            applied: row.number("applied")?,
            duplicate: row.number("duplicate")?,
            stale: row.number("stale")?,
            parked: row.number("parked")?,
            ignored: row.number("ignored")?,
            unmatched_webhooks: row.number("unmatched")?,
            miscounted_messages: row.number("miscounted")?,
            unannounced_messages: row.number("unannounced")?,
            waiting_events: row.number("waiting")?,
            refused_events: row.number("refused")?,
        })
    }
}
