//! Telnyx's error codes as sentences for the message's author, the same for a refused send and a failed delivery; and why
//! nobody knows whether a text arrived.

use crate::status::{Rank, RecipientState};

/// Codes of failures that may be gone the next time: the carrier, the account or the church's number was in the way, and
/// `not_sent` because the text was held back. Nothing is wrong with these recipients.
pub const PASSING: [&str; 10] =
    ["not_sent", "40006", "40008", "40010", "40305", "40312", "40314", "40318", "40320", "40333"];

/// The sentence for a code; `None` for an unknown code.
pub fn reason_of(code: &str) -> Option<&'static str> {
    Some(match code {
        "40001" => "This number can't be reached by text message (it may be a landline).",
        "40006" | "40008" => "The carrier could not take the text.",
        "40010" => {
            "The church's number is not registered for texting yet (10DLC); an administrator has to register it."
        }
        "40300" => "The recipient has opted out (STOP).",
        "40302" => "The text is too long.",
        "40305" => "The church's sending number is not valid; an administrator has to correct it.",
        "40310" => "The recipient's phone number is not valid.",
        "40312" | "40314" => "The church's texting account is disabled; an administrator has to look at it.",
        "40318" => "Too many texts were waiting at the provider.",
        "40322" => "The carrier's rules forbid this text.",
        "40333" => "The account's spending limit for today is reached.",
        _ => return None,
    })
}

/// Why it is not known whether a text arrived, for a recipient that was closed without a receipt and without a reason of
/// the carrier; `None` for any other.
pub fn reason_of_unconfirmed(state: RecipientState) -> Option<&'static str> {
    match state.rank {
        Rank::Queued | Rank::Sending | Rank::Sent if state.closed => {
            Some("No receipt came for this text. It may have arrived.")
        }
        Rank::Unconfirmed if state.closed => {
            Some("The carrier does not confirm whether it delivered this text. It may have arrived.")
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_recipient_that_was_closed_without_a_receipt_is_unconfirmed() {
        let ranks = (0..=6).filter_map(Rank::from_i16);
        for state in ranks.flat_map(|rank| [false, true].map(|closed| RecipientState { rank, closed })) {
            let is_unconfirmed = state.closed && state.rank < Rank::Failed;
            assert_eq!(reason_of_unconfirmed(state).is_some(), is_unconfirmed, "{state:?}");
        }
    }
}
