//! How settings are read where their type does not say enough, and how a wrong one is shown.

use clap::builder::{NonEmptyStringValueParser, TypedValueParser};
use secrecy::SecretString;

/// Reads a secret and refuses an empty one.
pub fn secret() -> impl TypedValueParser<Value = SecretString> {
    NonEmptyStringValueParser::new().map(SecretString::from)
}

/// A URL as an error may show it: user, password and query are left out, whether the rest is a URL or not.
pub fn without_secrets(url: &str) -> String {
    let (scheme, rest) = url.split_at(url.find("://").map_or(0, |at| at + "://".len()));
    // The last one: a password that was not escaped may hold another.
    let rest = match rest.rfind('@') {
        Some(at) => format!("…{}", &rest[at..]),
        None => rest.to_owned(),
    };
    let end = rest.find(['?', '#']).unwrap_or(rest.len());
    format!("{scheme}{}", &rest[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_secret_of_a_url_is_shown() {
        for (url, shown) in [
            ("https://hooks.example.org/path", "https://hooks.example.org/path"),
            ("https://user:secret@hooks.example.org/path", "https://…@hooks.example.org/path"),
            ("https://user:sec@ret@host", "https://…@host"),
            ("https://user:sec/ret@host", "https://…@host"),
            ("user:secret@host", "…@host"),
            ("ftp://host/?key=secret", "ftp://host/"),
            ("ftp://host/?key=secret@x", "ftp://…@x"),
            ("", ""),
        ] {
            assert_eq!(without_secrets(url), shown, "{url}");
        }
    }
}
