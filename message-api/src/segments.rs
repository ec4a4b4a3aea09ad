//! How many SMS segments a text takes. An estimate, to refuse texts that are too long; `parts` in Telnyx's answer is
//! exact.
//!
//! GSM-7 fits 160 septets into a single segment and 153 into each of several; UCS-2 fits 70 and 67 UTF-16 units. A
//! character of two septets or units is not split between segments.

/// Most segments of a message.
pub(crate) const MAX_SEGMENTS: usize = 10;
/// Most characters in each of several segments.
pub(crate) const SEGMENT_CHARS: usize = 153;

/// The basic character set of GSM 03.38, without the escape.
const BASIC: &str = "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?\
                     ¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà";
/// The extension table: two septets each, the escape and the character.
const EXTENDED: &str = "^{}\\[~]|€\u{c}";

/// Septets of a character in GSM-7; `None` if GSM-7 lacks it.
fn septets(character: char) -> Option<usize> {
    if BASIC.contains(character) {
        Some(1)
    } else if EXTENDED.contains(character) {
        Some(2)
    } else {
        None
    }
}

/// The segments of a text; 0 for an empty one.
pub(crate) fn count(text: &str) -> usize {
    match text.chars().map(septets).collect::<Option<Vec<_>>>() {
        Some(septets) => fill(septets.into_iter(), 160, SEGMENT_CHARS),
        None => fill(text.chars().map(char::len_utf16), 70, 67),
    }
}

/// Fills segments with characters of these lengths, without splitting one. `alone` is the length of a single segment,
/// `each` that of each of several.
fn fill(lengths: impl Iterator<Item = usize> + Clone, alone: usize, each: usize) -> usize {
    match lengths.clone().sum::<usize>() {
        0 => return 0,
        sum if sum <= alone => return 1,
        _ => {}
    }
    let (full, _) = lengths.fold((0, each), |(segments, used), length| {
        if used + length > each { (segments + 1, length) } else { (segments, used + length) }
    });
    full
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_limits_of_both_encodings_are_exact() {
        for (text, segments) in [
            (String::new(), 0),
            ("a".repeat(160), 1),
            ("a".repeat(161), 2),
            ("a".repeat(306), 2),
            ("a".repeat(307), 3),
            ("a".repeat(1530), 10),
            ("a".repeat(1531), 11),
            ("ж".repeat(70), 1),
            ("ж".repeat(71), 2),
            ("ж".repeat(134), 2),
            ("ж".repeat(135), 3),
            ("ж".repeat(670), 10),
            ("ж".repeat(671), 11),
            ("€".repeat(80), 1),
            ("€".repeat(81), 2),
            ("😀".repeat(35), 1),
            ("😀".repeat(36), 2),
        ] {
            assert_eq!(
                count(&text),
                segments,
                "{} characters of {:?}",
                text.chars().count(),
                text.chars().next()
            );
        }
    }

    #[test]
    fn a_character_of_two_septets_or_units_is_not_split() {
        // 152 places, then a pair that does not fit into the 153rd.
        assert_eq!(count(&format!("{}€{}", "a".repeat(152), "a".repeat(152))), 3);
        assert_eq!(count(&format!("{}€{}", "a".repeat(151), "a".repeat(153))), 2);
        assert_eq!(count(&format!("{}😀{}", "ж".repeat(66), "ж".repeat(66))), 3);
    }

    proptest! {
        #[test]
        fn segments_hold_the_whole_text_and_waste_little(text in "[a-zé€{}ж😀 ]{0,900}") {
            let gsm = text.chars().all(|c| septets(c).is_some());
            let places: usize = text.chars().map(|c| septets(c).filter(|_| gsm).unwrap_or(c.len_utf16())).sum();
            let (alone, each) = if gsm { (160, SEGMENT_CHARS) } else { (70, 67) };
            let segments = count(&text);
            if places <= alone {
                prop_assert_eq!(segments, usize::from(places > 0));
            } else {
                prop_assert!(segments >= places.div_ceil(each));
                // At worst each segment but the last wastes one place.
                prop_assert!(segments <= places.div_ceil(each - 1));
            }
        }

        #[test]
        fn more_text_never_becomes_fewer_segments(text in "\\PC{0,300}", more in "\\PC{0,50}") {
            prop_assert!(count(&(text.clone() + &more)) >= count(&text));
        }
    }
}
