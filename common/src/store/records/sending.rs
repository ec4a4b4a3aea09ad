//! Attempts to send, and their ends.

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
    /// Messages a second at most, over all processes; as fast as everybody together if there is none.
    pub rate: Option<u32>,
}

/// How fast a store's attempts are begun, and until when.
#[derive(Debug, Clone, Copy, Default)]
pub struct SendLimits {
    /// Messages a second at most, of all senders and over all processes.
    pub rate: Option<u32>,
    /// What was held back for longer is not begun any more.
    pub within: Option<std::time::Duration>,
}

/// Which attempt an answer belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AttemptId {
    /// The recipient.
    pub recipient_id: Uuid,
    /// The claim that took it, with others or alone; a later one has another id.
    pub claim_id: Uuid,
}

/// A recipient whose attempt is recorded: it has to be sent now, and never again unless the answer surely means
/// that Telnyx did not accept it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// What its answer belongs to.
    pub id: AttemptId,
    /// The recipient; stands in the webhook's URL.
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
    /// How often it was tried and surely not accepted before.
    pub tried: i32,
}

/// What became of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Telnyx accepted it under this id.
    Accepted {
        /// Telnyx's message id.
        provider_id: String,
    },
    /// Telnyx refused it for good.
    Refused(Failure),
    /// It surely was not accepted; it may be tried again at this moment.
    NotAccepted {
        /// Not before.
        again_at: OffsetDateTime,
        /// What holds for everything that is sent as the same sender.
        setback: Option<Setback>,
    },
    /// Nobody knows whether it was accepted: it waits for its webhook.
    Unresolved,
}

/// Why and how long a sender has to wait. The wait doubles with each setback in a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setback {
    /// A word for operators.
    pub reason: String,
    /// The wait after the first one.
    pub first: time::Duration,
    /// The longest wait.
    pub longest: time::Duration,
    /// Not before this moment, whatever the wait.
    pub until: Option<OffsetDateTime>,
}

/// A sender that something waits for and that is held back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldSender {
    /// The word of the setback.
    pub reason: String,
    /// Until when.
    pub until: OffsetDateTime,
    /// Setbacks in a row.
    pub setbacks: i32,
}

/// An accepted recipient without an end that Telnyx is to be asked for.
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

/// The failure code of a recipient of whom nobody ever heard again.
pub(in crate::store) const UNRESOLVED: &str = "unresolved";
/// Telnyx is asked for the first time so long after the attempt, if no receipt came.
pub(in crate::store) const FIRST_ASK: time::Duration = time::Duration::minutes(15);

/// When Telnyx is asked.
#[derive(Debug, Clone, Copy)]
pub struct AskTimes {
    /// Now.
    pub now: OffsetDateTime,
    /// Who was never asked for is, if its first time (a quarter of an hour after the attempt) is before this.
    pub first_before: OffsetDateTime,
    /// Nobody else takes them before this moment.
    pub taken_until: OffsetDateTime,
}

impl AskTimes {
    /// With a first question so long after the attempt.
    pub fn new(
        now: OffsetDateTime,
        first_after: std::time::Duration,
        taken_for: std::time::Duration,
    ) -> Self {
        Self { now, first_before: now + FIRST_ASK - first_after, taken_until: now + taken_for }
    }
}

/// When waiting for a receipt ends.
#[derive(Debug, Clone, Copy)]
pub struct Overdue {
    /// Accepted recipients whose attempt was before this are closed unconfirmed.
    pub accepted_before: OffsetDateTime,
    /// Unresolved recipients whose attempt was before this fail with the code `unresolved`.
    pub unresolved_before: OffsetDateTime,
    /// At most so many at once.
    pub limit: u32,
}
