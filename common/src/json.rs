//! Repairs JSON that other software cut in the middle of a character.

/// U+FFFD, as an escape.
const REPLACEMENT: &[u8] = br"\ufffd";
/// `\u` and four digits.
const ESCAPE: usize = 6;

/// Parses JSON as it stands, else as others read it: half an emoji, escaped or not, is a replacement character.
///
/// # Errors
/// It is not JSON.
pub fn parse_lenient(body: &[u8]) -> Result<serde_json::Value, serde_json::Error> {
    serde_json::from_slice(body).or_else(|_| {
        let text = String::from_utf8_lossy(body);
        let copy = without_lone_surrogates(text.as_bytes());
        serde_json::from_slice(copy.as_deref().unwrap_or(text.as_bytes()))
    })
}

/// A copy of a JSON text in which each `\uD800` to `\uDFFF` that is not half of a pair is `\ufffd`; `None` if there is
/// no such escape. A text that was cut in the middle of an emoji has one. Most parsers accept it; serde_json refuses the
/// whole body.
pub fn without_lone_surrogates(text: &[u8]) -> Option<Vec<u8>> {
    let mut copy = Vec::with_capacity(text.len());
    let (mut rest, mut replaced) = (text, false);
    while let Some(backslash) = rest.iter().position(|byte| *byte == b'\\') {
        let (before, escape) = rest.split_at(backslash);
        let (length, is_lone) = measure(escape);
        let (escape, after) = escape.split_at(length);
        copy.extend_from_slice(before);
        copy.extend_from_slice(if is_lone { REPLACEMENT } else { escape });
        replaced |= is_lone;
        rest = after;
    }
    copy.extend_from_slice(rest);
    replaced.then_some(copy)
}

/// The length of the escape at the beginning (a pair counts as one), and whether it is half of a pair.
fn measure(text: &[u8]) -> (usize, bool) {
    match (code_unit(text), text.get(ESCAPE..).and_then(code_unit)) {
        (Some(0xD800..=0xDBFF), Some(0xDC00..=0xDFFF)) => (2 * ESCAPE, false),
        (Some(0xD800..=0xDFFF), _) => (ESCAPE, true),
        (Some(_), _) => (ESCAPE, false),
        // `\\`, `\"` and the like.
        (None, _) => (text.len().min(2), false),
    }
}

/// The UTF-16 code unit of the `\uXXXX` at the beginning.
fn code_unit(text: &[u8]) -> Option<u16> {
    let digits = text.strip_prefix(br"\u")?.get(..4)?;
    digits.iter().try_fold(0, |unit, digit| {
        let digit = char::from(*digit).to_digit(16).and_then(|digit| u16::try_from(digit).ok())?;
        Some(unit << 4 | digit)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn replaced(text: &str) -> Option<String> {
        without_lone_surrogates(text.as_bytes()).map(|copy| String::from_utf8(copy).unwrap())
    }

    #[test]
    fn a_lone_surrogate_becomes_the_replacement_character() {
        for (text, expected) in [
            (r#""\ud83d""#, Some(r#""\ufffd""#)),
            (r#""\uDE00 \uD83D.""#, Some(r#""\ufffd \ufffd.""#)),
            (r#""\ude00\ud83d""#, Some(r#""\ufffd\ufffd""#)),
            (r#""\ud83d\ud83d\ude00""#, Some(r#""\ufffd\ud83d\ude00""#)),
            (r#""\ud83d\u0041""#, Some(r#""\ufffd\u0041""#)),
            (r#""\ud83d\\ude00""#, Some(r#""\ufffd\\ude00""#)),
            (r#""\\\ud83d""#, Some(r#""\\\ufffd""#)),
            // A pair, an escaped backslash, other escapes, and malformed ones.
            (r#""\ud83d\ude00""#, None),
            (r#""\\ud83d""#, None),
            (r#""\\\\ud83d""#, None),
            (r#""\u00e9 \" \n \/""#, None),
            (r#""\ud83""#, None),
            (r#""\u+83d""#, None),
            ("\\", None),
            ("", None),
        ] {
            assert_eq!(replaced(text).as_deref(), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_code_units_are_read_as_lossy_utf_16(units in prop::collection::vec(
            prop_oneof![0xD7FEu16..0xE002, any::<u16>(), Just(0x5C)], 0..12,
        )) {
            let escapes: String = units.iter().map(|unit| format!("\\u{unit:04x}")).collect();
            let text = format!("\"{escapes}\"");
            let copy = replaced(&text).unwrap_or(text);
            let read: String = serde_json::from_str(&copy).unwrap();
            prop_assert_eq!(read, String::from_utf16_lossy(&units));
        }

        #[test]
        fn no_input_makes_it_panic(bytes in prop::collection::vec(prop_oneof![any::<u8>(), Just(b'\\'), Just(b'u')], 0..40)) {
            let _ = without_lone_surrogates(&bytes);
        }
    }
}
