//! Phone numbers as people write them. The database and Telnyx have them in E.164.

use common::phone::is_e164;
use phonenumber::Mode;
pub(crate) use phonenumber::country::Id as Country;

use crate::characters::is_invisible;

/// Longest number in a request, in characters.
const MAX_CHARS: usize = 40;
/// How to write a number that needs no default country.
const HELP: &str = "write it with its country code, as +15551230000";

/// Converts a number as people write it to E.164. A number without a country code belongs to `country`.
///
/// # Errors
/// It is not a phone number; the text tells a person why.
pub(crate) fn read(text: &str, country: Option<Country>) -> Result<String, String> {
    let visible: String = text.chars().filter(|character| !is_invisible(*character)).collect();
    let text = visible.trim();
    if is_e164(text) {
        return Ok(text.to_owned());
    }
    if text.is_empty() || text.chars().count() > MAX_CHARS {
        return Err("give the number as +15551230000".into());
    }
    let text = text.chars().map(plain).collect::<Option<String>>();
    let text = text.ok_or_else(|| format!("the number has a character that no phone number has; {HELP}"))?;
    let is_international = text.starts_with('+');
    match country {
        None if !is_international => Err(format!("the number has no country code; {HELP}")),
        country => parsed(&text, country, is_international),
    }
}

/// A number with a plus must be E.164. Any other one must be valid by its country's numbering plan, because an
/// incomplete number becomes a different one when a country code is put before it.
fn parsed(text: &str, country: Option<Country>, is_international: bool) -> Result<String, String> {
    let wrong = || match country.filter(|_| !is_international) {
        Some(country) => format!("this is not a number of the country {country:?}; {HELP}"),
        None => format!("this is not a phone number; {HELP}"),
    };
    let number = phonenumber::parse(country, text).map_err(|_| wrong())?;
    let e164 = number.format().mode(Mode::E164).to_string();
    if is_e164(&e164) && (is_international || number.is_valid()) { Ok(e164) } else { Err(wrong()) }
}

/// The ASCII form of a character that phone numbers are written with.
fn plain(character: char) -> Option<char> {
    match character {
        '0'..='9' | '+' | '(' | ')' | '.' | '/' | '-' => Some(character),
        '\u{2010}'..='\u{2015}' | '\u{2212}' => Some('-'),
        // Full-width forms, as Japanese keyboards write them.
        '\u{ff08}'..='\u{ff19}' => char::from_u32(u32::from(character) - 0xfee0).and_then(plain),
        character if character.is_whitespace() => Some(' '),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formatting_around_a_number_is_removed() {
        for written in [
            "+15551230101",
            " +15551230101\n",
            "\u{202a}+15551230101\u{202c}",
            "\u{feff}+1555\u{200b}1230101",
            "+1 (555) 123-0101",
            "+1\u{a0}555.123.0101",
            "+1 555 123\u{2011}0101",
            "＋１　５５５　１２３　０１０１",
        ] {
            assert_eq!(read(written, None).as_deref(), Ok("+15551230101"), "{written:?}");
        }
        assert_eq!(read("+44 (0)20 7946 0958", None).as_deref(), Ok("+442079460958"));
    }

    #[test]
    fn a_number_without_a_country_code_belongs_to_the_default_country() {
        let (us, ng, kr) = ("US".parse().ok(), "NG".parse().ok(), "KR".parse().ok());
        for (written, country, number) in [
            ("(202) 555-0103", us, "+12025550103"),
            ("202.555.0103", us, "+12025550103"),
            ("1 202 555 0103", us, "+12025550103"),
            ("011 44 20 7946 0958", us, "+442079460958"),
            ("+44 20 7946 0958", us, "+442079460958"),
            ("0803 123 4567", ng, "+2348031234567"),
            ("010-1234-5678", kr, "+821012345678"),
        ] {
            assert_eq!(read(written, country).as_deref(), Ok(number), "{written:?}");
        }
    }

    #[test]
    fn an_invalid_number_is_refused_with_its_reason() {
        let us = "US".parse().ok();
        for (written, country, reason) in [
            ("(202) 555-0103", None, "no country code"),
            ("12025550103", None, "no country code"),
            ("555-0103", us, "not a number of the country US"),
            ("5551230101", us, "not a number of the country US"),
            ("+1 20", us, "not a phone number"),
            ("202 555 0103 ext. 5", us, "a character that no phone number has"),
            ("1-800-FLOWERS", us, "a character that no phone number has"),
            ("tel:+12025550103", us, "a character that no phone number has"),
            ("\u{200b}", us, "give the number"),
            ("", None, "give the number"),
            (&"1".repeat(500), us, "give the number"),
            ("()", us, "not a number of the country US"),
        ] {
            let refusal = read(written, country).unwrap_err();
            assert!(refusal.contains(reason), "{written:?}: {refusal}");
        }
    }
}
