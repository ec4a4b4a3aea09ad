//! Hides telephone numbers until somebody asks for them.

use common::phone;
use serde_json::Value;

/// Digits of a telephone number without a `+`. Fewer are a count.
const BARE_DIGITS: std::ops::RangeInclusive<usize> = 8..=15;
/// Digits that stay visible, so that two numbers can be told apart.
const SHOWN: usize = 4;

/// Fields that hold ids, which the page sends back. An id may consist of digits.
const IDS: [&str; 6] = ["churchId", "id", "messageId", "recipientId", "eventId", "telnyxId"];

/// Masks the numbers in every text of a value, but ids.
pub(super) fn value(told: &mut Value) {
    match told {
        Value::String(said) => *said = text(said),
        Value::Array(values) => values.iter_mut().for_each(value),
        Value::Object(fields) => {
            let others = fields.iter_mut().filter(|(name, _)| !IDS.contains(&name.as_str()));
            others.for_each(|(_, field)| value(field));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Masks the numbers in a text: `+12025550101` becomes `+•••••••0101`. Digits inside of an id are no number.
pub(super) fn text(text: &str) -> String {
    let mut masked = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find(|c: char| c.is_ascii_digit()) {
        let digits =
            rest[start..].len() - rest[start..].trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let end = start + digits;
        masked.push_str(&rest[..start]);
        let inside = is_part_of_id(masked.chars().next_back()) || is_part_of_id(rest[end..].chars().next());
        let range = if masked.ends_with('+') { phone::DIGITS } else { BARE_DIGITS };
        if range.contains(&digits) && !inside {
            masked.extend(std::iter::repeat_n('•', digits - SHOWN));
            masked.push_str(&rest[end - SHOWN..end]);
        } else {
            masked.push_str(&rest[start..end]);
        }
        rest = &rest[end..];
    }
    masked.push_str(rest);
    masked
}

fn is_part_of_id(beside: Option<char>) -> bool {
    beside.is_some_and(|c| c.is_alphanumeric() || c == '-' || c == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_masked_and_ids_times_and_counts_are_not() {
        for (told, expected) in [
            ("sent as +12025550101; to 12025550103.", "sent as +•••••••0101; to •••••••0103."),
            (r#"{"phone_number":"+2348012345678"}"#, r#"{"phone_number":"+•••••••••5678"}"#),
            ("message 12345678-9012-7000-8000-123456789012", "message 12345678-9012-7000-8000-123456789012"),
            ("2026-11-22T20:15:31.123Z, 3 of 10000 events", "2026-11-22T20:15:31.123Z, 3 of 10000 events"),
            ("+1234567 and 1234567", "+•••4567 and 1234567"),
            ("", ""),
        ] {
            assert_eq!(text(told), expected);
        }
        let mut phones =
            serde_json::json!([{"phone": "+12025550101", "count": 12025550101_u64, "churchId": "10000042"}]);
        value(&mut phones);
        let expected =
            serde_json::json!([{"phone": "+•••••••0101", "count": 12025550101_u64, "churchId": "10000042"}]);
        assert_eq!(phones, expected);
    }
}
