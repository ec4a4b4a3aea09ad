//! What Telnyx's error codes mean for a message that was just posted.

use common::failure::reason_of;

use super::hindrance::Hindrance;

/// What a code means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    /// Refused for good, with a reason for a person.
    Refused(&'static str),
    /// Too many requests by this account at once.
    Throttled,
    /// Not accepted, for a reason of the sender's that passes.
    Passing(Hindrance),
    /// Telnyx calls it passing; whether it took the message is not said.
    Unclear,
    /// Not a code that we know.
    Unknown,
}

/// The meaning of a code.
pub(super) fn meaning(code: &str) -> Meaning {
    match code {
        "10011" => Meaning::Throttled,
        "40318" => Meaning::Passing(Hindrance::QueueFull),
        "40320" => Meaning::Passing(Hindrance::NumberUnusable),
        "40333" => Meaning::Passing(Hindrance::SpendLimit),
        "40006" | "40008" => Meaning::Unclear,
        _ => reason_of(code).map_or(Meaning::Unknown, Meaning::Refused),
    }
}
