//! Telnyx's error codes as far as we do something about them, and what a person is told.

/// What a code means for a recipient that was just posted.
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
    Meaning::Refused(match code {
        "10011" => return Meaning::Throttled,
        "40318" => return Meaning::QueueFull,
        "40006" | "40008" => return Meaning::Unclear,
        "40001" => "This number can't be reached by text message (it may be a landline)",
        "40010" => {
            "The church's number is not registered for texting yet (10DLC); an administrator has to register it"
        }
        "40300" => "The recipient has opted out by replying STOP",
        "40302" => "The text is too long",
        "40305" => "The church's sending number is not valid; an administrator has to correct it",
        "40310" => "The recipient's phone number is not valid",
        "40312" | "40314" => "The church's texting account is disabled; an administrator has to look at it",
        "40322" => "The carrier's rules forbid this text",
        "40333" => "The account's spending limit for today is reached",
        _ => return Meaning::Unknown,
    })
}
