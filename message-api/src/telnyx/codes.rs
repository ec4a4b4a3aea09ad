//! What Telnyx's error codes mean for a message that was posted.

use common::failure::reason_of;

use super::retry_reason::RetryReason;

/// The meaning of an error code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    /// Refused for good, with a readable reason.
    Refused(&'static str),
    /// The account sends too many requests.
    Throttled,
    /// Not accepted, for a temporary reason of the sender.
    Temporary(RetryReason),
    /// Temporary by Telnyx's documents, which don't say whether it has the message.
    Ambiguous,
    /// A code that is not listed here.
    Unknown,
}

/// Looks a code up.
pub(super) fn meaning(code: &str) -> Meaning {
    match code {
        "10011" => Meaning::Throttled,
        "40318" => Meaning::Temporary(RetryReason::QueueFull),
        "40320" => Meaning::Temporary(RetryReason::NumberUnusable),
        "40333" => Meaning::Temporary(RetryReason::SpendLimit),
        "40006" | "40008" => Meaning::Ambiguous,
        _ => reason_of(code).map_or(Meaning::Unknown, Meaning::Refused),
    }
}
