//! The error of a wrong setting, and parsers of settings that several services have.

use clap::builder::{NonEmptyStringValueParser, TypedValueParser};
use secrecy::SecretString;

/// A wrong or missing setting. Ends the process with exit code 2.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{variable}: {problem}")]
pub struct ConfigError {
    variable: &'static str,
    problem: String,
}

impl ConfigError {
    /// Names the environment variable and says what to do.
    pub fn new(variable: &'static str, problem: impl Into<String>) -> Self {
        Self { variable, problem: problem.into() }
    }
}

/// Reads a secret and refuses an empty one.
pub fn secret() -> impl TypedValueParser<Value = SecretString> {
    NonEmptyStringValueParser::new().map(SecretString::from)
}

/// A URL as an error may show it, without user, password and query. The rest need not be a valid URL.
pub fn without_secrets(url: &str) -> String {
    let (scheme, rest) = url.split_at(url.find("://").map_or(0, |at| at + "://".len()));
    // The last `@`: an unescaped password may contain others.
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
