//! What Telnyx's error codes mean for a message that was just posted.

use common::failure::reason_of;

/// What a code means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    /// Refused for good, with a reason for a person.
    Refused(&'static str),
    /// Too many requests by this account at once.
    Throttled,
    /// The sender's queue at Telnyx is full.
    QueueFull,
    /// Telnyx calls it passing; whether it took the message is not said.
    Unclear,
    /// Not a code that we know.
    Unknown,
}

/// The meaning of a code.
pub(super) fn meaning(code: &str) -> Meaning {
    match code {
        "10011" => Meaning::Throttled,
        "40318" => Meaning::QueueFull,
        "40006" | "40008" => Meaning::Unclear,
        _ => reason_of(code).map_or(Meaning::Unknown, Meaning::Refused),
    }
}
