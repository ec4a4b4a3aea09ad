//! Invisible characters. Phones and word processors put them around copied text.

/// Whether a character is visible: neither white space nor a control character nor one of Unicode's invisible ones.
pub(crate) fn is_visible(character: char) -> bool {
    !character.is_whitespace() && !is_invisible(character)
}

/// Whether a text has no visible character.
pub(crate) fn is_blank(text: &str) -> bool {
    !text.chars().any(is_visible)
}

/// Whether a character is a control character or one without a glyph (`Default_Ignorable_Code_Point`, the marks of
/// interlinear annotations, and the blank of Braille).
pub(crate) fn is_invisible(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{2800}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}'
            | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_of_invisible_characters_is_blank() {
        for blank in [
            "",
            " \n\t",
            "\u{200b}",
            "\u{feff}\u{2060} ",
            "\u{0}\u{7}",
            "\u{3000}",
            "\u{202a}\u{202c}",
            "\u{fe0f}",
        ] {
            assert!(is_blank(blank), "{blank:?}");
        }
        for text in ["a", "\u{200b}.", "🙏", "👨\u{200d}👩", "ሰላም", "\u{fffd}", "\u{301}"] {
            assert!(!is_blank(text), "{text:?}");
        }
    }
}
