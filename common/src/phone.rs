//! Phone numbers as the database and Telnyx have them: E.164.

/// How many digits follow the plus.
pub const DIGITS: std::ops::RangeInclusive<usize> = 7..=15;

/// Whether a text is an E.164 number: a plus and 7 to 15 digits, the first not zero.
pub fn is_e164(text: &str) -> bool {
    let Some(digits) = text.strip_prefix('+') else { return false };
    DIGITS.contains(&digits.len())
        && !digits.starts_with('0')
        && digits.bytes().all(|digit| digit.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_e164_is_a_phone_number() {
        for right in ["+15551230101", "+4930123456", "+1234567", "+123456789012345"] {
            assert!(is_e164(right), "{right}");
        }
        for wrong in [
            "",
            "+",
            "15551230101",
            "+05551230101",
            "+1555123010a",
            "+1 555 123 0101",
            "+123456",
            "+1234567890123456",
            "+١٢٣٤٥٦٧",
        ] {
            assert!(!is_e164(wrong), "{wrong}");
        }
    }
}
