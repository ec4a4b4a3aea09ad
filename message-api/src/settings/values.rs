//! Parsers of single values.

use std::time::Duration;

use crate::phone::Country;

pub(super) fn country(text: &str) -> Result<Country, String> {
    let country = text.to_ascii_uppercase().parse();
    country.map_err(|_| "write the two letters of the country (ISO 3166), as US, NG or KR".into())
}

/// Parses `90s`, `15m`, `6h` or `3d`; at most a year. A bare number is refused, because its unit is not evident.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let seconds = match unit {
        "s" => Some(1),
        "m" => Some(60),
        "h" => Some(3_600),
        "d" => Some(86_400),
        _ => None,
    };
    let total = seconds.zip(number.parse::<u64>().ok()).and_then(|(unit, number)| number.checked_mul(unit));
    total
        .filter(|total| (1..=366 * 86_400).contains(total))
        .map(Duration::from_secs)
        .ok_or_else(|| "write a number with s, m, h or d: 90s, 15m, 6h, 3d".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_numbers_with_a_unit() {
        for (text, seconds) in [("90s", 90), ("15m", 900), ("6h", 21_600), ("3d", 259_200)] {
            assert_eq!(duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for wrong in ["", "s", "90", "-1s", "1.5h", "1w", "0s", "400d", "99999999999999999999s"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }
}
