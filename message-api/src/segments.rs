//! How many SMS a text becomes. An estimate to refuse what is too long; the `parts` of Telnyx's answer are the truth.
//!
//! A text of GSM-7 characters has 160 in one SMS and 153 in each of several; any other text is UCS-2, with 70 and 67
//! UTF-16 units. A character that takes two places is never cut in two.

/// A message has at most so many.
pub(crate) const MAX_SEGMENTS: usize = 10;

/// The basic table of GSM 03.38, without its escape.
const BASIC: &str = "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?\
                     ¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà";
/// The extension table: an escape and the character, two places.
const EXTENDED: &str = "^{}\\[~]|€\u{c}";

/// How many places a character takes in GSM-7, `None` if it has none there.
fn gsm_places(character: char) -> Option<usize> {
    if BASIC.contains(character) {
        Some(1)
    } else if EXTENDED.contains(character) {
        Some(2)
    } else {
        None
    }
}

/// How many SMS a text becomes; an empty one becomes none.
pub(crate) fn count(text: &str) -> usize {
    match text.chars().map(gsm_places).collect::<Option<Vec<_>>>() {
        Some(places) => fill(places.into_iter(), 160, 153),
        None => fill(text.chars().map(char::len_utf16), 70, 67),
    }
}

/// Puts characters into segments one after the other, each whole.
fn fill(places: impl Iterator<Item = usize> + Clone, alone: usize, each: usize) -> usize {
    match places.clone().sum::<usize>() {
        0 => return 0,
        sum if sum <= alone => return 1,
        _ => {}
    }
    let (full, _) = places.fold((0, each), |(segments, used), places| {
        if used + places > each { (segments + 1, places) } else { (segments, used + places) }
    });
    full
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_limits_of_both_alphabets_hold_to_the_character() {
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
    fn a_character_of_two_places_is_not_cut_in_two() {
        // 152 places, then a pair that does not fit into the 153rd.
        assert_eq!(count(&format!("{}€{}", "a".repeat(152), "a".repeat(152))), 3);
        assert_eq!(count(&format!("{}€{}", "a".repeat(151), "a".repeat(153))), 2);
        assert_eq!(count(&format!("{}😀{}", "ж".repeat(66), "ж".repeat(66))), 3);
    }

    proptest! {
        #[test]
        fn a_text_is_never_counted_shorter_than_it_is(text in "[a-zé€{}ж😀 ]{0,900}") {
            let gsm = text.chars().all(|c| gsm_places(c).is_some());
            let places: usize = text.chars().map(|c| gsm_places(c).filter(|_| gsm).unwrap_or(c.len_utf16())).sum();
            let (alone, each) = if gsm { (160, 153) } else { (70, 67) };
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
