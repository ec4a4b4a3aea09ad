//! Settings of the product's own back end, which message-api calls.

use std::net::IpAddr;

use common::config::ConfigError;
use reqwest::Url;
use reqwest::header::HeaderValue;
use secrecy::{ExposeSecret as _, SecretString};

/// The product's own back end.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "The product's own back end")]
pub struct BackEndOptions {
    /// URL that is told of each text that comes in, by POST, until it answers 2xx, for 24 hours; https, unless its host
    /// is in the own network
    #[arg(long, env = "INBOUND_URL", hide_env_values = true, value_name = "URL")]
    pub inbound_url: Option<String>,
    /// URL that is asked for the recipients of groups, branches, members or everybody, by POST; https, unless its host is
    /// in the own network
    #[arg(long, env = "RECIPIENTS_URL", hide_env_values = true, value_name = "URL")]
    pub recipients_url: Option<String>,
    /// Bearer token of the requests to the back end; at least 16 characters
    #[arg(long, env = "RECIPIENTS_SECRET", hide_env_values = true, value_name = "SECRET")]
    pub recipients_secret: Option<SecretString>,
}

/// Shortest secret.
const SHORTEST_SECRET: usize = 16;

impl BackEndOptions {
    /// Where texts that come in are told, if that is set. An empty variable counts as not set.
    ///
    /// # Errors
    /// `INBOUND_URL` is no URL, or has neither https nor a host of the own network.
    pub fn inbound_url(&self) -> Result<Option<Url>, ConfigError> {
        back_end_url("INBOUND_URL", self.inbound_url.as_deref())
    }

    /// Where recipients are asked for, if that is set. An empty variable counts as not set.
    ///
    /// # Errors
    /// `RECIPIENTS_URL` is no URL, or has neither https nor a host of the own network.
    pub fn recipients_url(&self) -> Result<Option<Url>, ConfigError> {
        back_end_url("RECIPIENTS_URL", self.recipients_url.as_deref())
    }

    /// The `Authorization` header of the requests.
    ///
    /// # Errors
    /// `RECIPIENTS_SECRET` is missing, too short or no token.
    pub fn authorization(&self) -> Result<HeaderValue, ConfigError> {
        let wrong = |problem: &str| ConfigError::new("RECIPIENTS_SECRET", problem);
        let secret = self.recipients_secret.as_ref().map_or("", |secret| secret.expose_secret()).trim();
        if secret.len() < SHORTEST_SECRET || !secret.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(wrong(
                "is needed for INBOUND_URL and RECIPIENTS_URL: at least 16 characters without blanks",
            ));
        }
        let mut value = HeaderValue::from_str(&format!("Bearer {secret}"))
            .map_err(|_| wrong("can't be sent in a header"))?;
        value.set_sensitive(true);
        Ok(value)
    }
}

/// A URL of the back end, if it is set. The secret and the texts must not cross the internet in the clear.
fn back_end_url(variable: &'static str, text: Option<&str>) -> Result<Option<Url>, ConfigError> {
    let Some(text) = text.map(str::trim).filter(|url| !url.is_empty()) else { return Ok(None) };
    // The error does not repeat the URL, which may contain a password.
    let wrong = |problem: &str| ConfigError::new(variable, problem);
    let url: Url = text.parse().map_err(|_| wrong("is not a URL; write https://host/path"))?;
    match url.scheme() {
        _ if !url.has_host() => Err(wrong("has no host")),
        _ if url.fragment().is_some() => Err(wrong("must not have a fragment")),
        "https" => Ok(Some(url)),
        "http" if url.host_str().is_some_and(is_own_network) => Ok(Some(url)),
        "http" => Err(wrong("needs https: its host is not in the own network")),
        _ => Err(wrong("is not an http or https URL")),
    }
}

/// A loopback or private address, or a name that only an own network has: one without a dot, or below a domain that is
/// reserved for that.
fn is_own_network(host: &str) -> bool {
    match host.trim_matches(['[', ']']).parse::<IpAddr>() {
        Ok(IpAddr::V4(address)) => address.is_loopback() || address.is_private(),
        Ok(IpAddr::V6(address)) => address.is_loopback() || address.is_unique_local(),
        Err(_) => {
            let reserved = [".localhost", ".local", ".internal"];
            !host.contains('.') || reserved.iter().any(|domain| host.ends_with(domain))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(url: &str, secret: &str) -> BackEndOptions {
        BackEndOptions {
            inbound_url: Some(url.into()),
            recipients_url: None,
            recipients_secret: Some(secret.into()),
        }
    }

    #[test]
    fn a_url_needs_https_unless_its_host_is_in_the_own_network() {
        for url in [
            "https://church.example.org/hooks?x=1",
            "http://127.0.0.1:3000/inbound",
            "http://[::1]:3000/inbound",
            "http://10.1.2.3/inbound",
            "http://192.168.1.5/inbound",
            "http://[fd00::1]/inbound",
            "http://localhost:3000/inbound",
            "http://backend:3000/inbound",
            "http://backend.default.svc.cluster.local/inbound",
        ] {
            assert_eq!(options(url, "").inbound_url().unwrap().unwrap().as_str(), url);
        }
        for url in [
            "http://church.example.org/",
            "http://8.8.8.8/",
            "http://[2001:db8::1]/",
            "ftp://localhost/",
            "x",
            "https://x/#y",
        ] {
            let error = options(url, "").inbound_url().unwrap_err().to_string();
            assert!(error.starts_with("INBOUND_URL"), "{url}: {error}");
        }
        assert_eq!(options("  ", "").inbound_url().unwrap(), None);
    }

    #[test]
    fn a_secret_is_needed_and_never_printed() {
        for secret in ["", "short", "fifteen letters", "a secret with blanks"] {
            let error = options("", secret).authorization().unwrap_err().to_string();
            assert!(error.starts_with("RECIPIENTS_SECRET"), "{error}");
        }
        let options = options("", "0123456789abcdef");
        let header = options.authorization().unwrap();
        assert_eq!(header.to_str().unwrap(), "Bearer 0123456789abcdef");
        assert!(!format!("{header:?} {options:?}").contains("0123456789"));
    }
}
