//! Senders, attempts to send, and their answers.

use time::OffsetDateTime;
use uuid::Uuid;

use super::messages::Failure;
use crate::subject::ChurchId;

/// Who a church sends as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sender {
    /// The church.
    pub church_id: ChurchId,
    /// E.164, unique over all churches.
    pub number: String,
    /// The church's own messaging profile: opt-outs block a whole profile.
    pub messaging_profile_id: Option<String>,
    /// Messages a second at most, over all processes; `None` means as fast as all senders together.
    pub rate: Option<u32>,
}

/// A church's own sender, and how it stands with Telnyx.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SenderState {
    /// The sender.
    pub sender: Sender,
    /// It is held back until then.
    pub held_until: Option<OffsetDateTime>,
    /// Why it is, or was last, held back.
    pub reason: Option<String>,
    /// When Telnyx last accepted or refused a message of it.
    pub served_at: Option<OffsetDateTime>,
}

/// Limits for the attempts of a store.
#[derive(Debug, Clone, Copy, Default)]
pub struct SendLimits {
    /// Messages a second at most, of all senders and over all processes.
    pub rate: Option<u32>,
    /// A recipient that was held back for longer is not sent any more.
    pub within: Option<std::time::Duration>,
}

/// Names one attempt, so that its answer changes no other one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AttemptId {
    /// The recipient.
    pub recipient_id: Uuid,
    /// The claim that took it. A later attempt belongs to another claim.
    pub claim_id: Uuid,
}

/// A recipient whose attempt is recorded. Send it now, and never again unless the answer certainly means that Telnyx
/// did not accept it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// Names the attempt in its answer.
    pub id: AttemptId,
    /// The recipient; part of the webhook's URL.
    pub recipient_id: Uuid,
    /// Who it is sent as: the number, else the messaging profile.
    pub sender: String,
    /// Its church.
    pub church_id: ChurchId,
    /// E.164.
    pub phone: String,
    /// The text.
    pub content: String,
    /// Pictures.
    pub media_urls: Vec<String>,
    /// The number it is sent from.
    pub from_number: Option<String>,
    /// The messaging profile it is sent with.
    pub messaging_profile_id: Option<String>,
    /// How often it was attempted before and certainly not accepted.
    pub tried: i32,
}

/// The answer to an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Telnyx accepted it under this id.
    Accepted {
        /// Telnyx's message id.
        provider_id: String,
    },
    /// Telnyx refused it for good.
    Refused(Failure),
    /// Telnyx certainly did not accept it. It may be attempted again.
    NotAccepted {
        /// Not before this time.
        again_at: OffsetDateTime,
        /// The reason, if it holds for the whole sender.
        setback: Option<Setback>,
    },
    /// Unknown whether Telnyx accepted it. It waits for its webhook.
    Unresolved,
}

/// Why and how long a sender has to wait. The wait doubles with each setback in a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setback {
    /// A label for operators.
    pub reason: String,
    /// The wait after the first one.
    pub first: time::Duration,
    /// The longest wait.
    pub longest: time::Duration,
    /// Not before this moment, whatever the wait.
    pub until: Option<OffsetDateTime>,
}

/// A held-back sender with waiting recipients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldSender {
    /// The label of the setback.
    pub reason: String,
    /// Until when.
    pub until: OffsetDateTime,
    /// Setbacks in a row.
    pub setbacks: i32,
}

/// An accepted recipient without a final status, to ask Telnyx about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    /// The recipient.
    pub recipient_id: Uuid,
    /// Telnyx's message id.
    pub provider_id: String,
    /// E.164.
    pub phone: String,
    /// When it was sent.
    pub attempted_at: OffsetDateTime,
    /// How often Telnyx was asked and answered before.
    pub asked: i32,
}

/// Failure code of a recipient of which Telnyx never said whether it accepted the message.
pub(in crate::store) const UNRESOLVED: &str = "unresolved";
/// Failure code of a recipient whose text was held back for too long, or certainly not taken by Telnyx.
pub(in crate::store) const NOT_SENT: &str = "not_sent";
/// Without a receipt, Telnyx is asked for the first time this long after the attempt.
pub(in crate::store) const FIRST_ASK: time::Duration = time::Duration::minutes(15);

/// When Telnyx is asked.
#[derive(Debug, Clone, Copy)]
pub struct AskTimes {
    /// Now.
    pub now: OffsetDateTime,
    /// Recipients that Telnyx was never asked about are due if their first time ([`FIRST_ASK`] after the attempt) is
    /// before this.
    pub first_before: OffsetDateTime,
    /// No other call takes them before this time.
    pub taken_until: OffsetDateTime,
}

impl AskTimes {
    /// With the first question `first_after` after the attempt.
    pub fn new(
        now: OffsetDateTime,
        first_after: std::time::Duration,
        taken_for: std::time::Duration,
    ) -> Self {
        Self { now, first_before: now + FIRST_ASK - first_after, taken_until: now + taken_for }
    }
}

/// Limits of time for a receipt.
#[derive(Debug, Clone, Copy)]
pub struct Overdue {
    /// Accepted recipients whose attempt was before this are closed unconfirmed.
    pub accepted_before: OffsetDateTime,
    /// Unresolved recipients whose attempt was before this fail with the code `unresolved`.
    pub unresolved_before: OffsetDateTime,
    /// Recipients at most.
    pub limit: u32,
}
