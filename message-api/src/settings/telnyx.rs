//! Settings of the account at Telnyx.

use common::config::ConfigError;
use common::phone::is_e164;
use reqwest::Url;
use secrecy::{ExposeSecret as _, SecretString};

/// The account at Telnyx, and the addresses of its webhooks.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Telnyx")]
pub struct TelnyxOptions {
    /// API key of the Telnyx account
    #[arg(long, env = "TELNYX_API_KEY", hide_env_values = true, value_name = "KEY")]
    pub telnyx_api_key: SecretString,
    /// Base URL of Telnyx, or of a simulator
    #[arg(
        long,
        env = "TELNYX_BASE_URL",
        hide_env_values = true,
        default_value = "https://api.telnyx.com",
        value_name = "URL"
    )]
    pub telnyx_base_url: String,
    /// Sender number of churches without one of their own; for an installation with one church
    #[arg(long, env = "TELNYX_FROM", value_name = "NUMBER")]
    pub telnyx_from: Option<String>,
    /// Messaging profile of that number
    #[arg(long, env = "TELNYX_MESSAGING_PROFILE_ID", value_name = "ID", value_parser = profile_id)]
    pub telnyx_messaging_profile_id: Option<String>,
    /// URL at which Telnyx reaches webhook-ingest; /webhooks/telnyx/{recipientId} is appended
    #[arg(long, env = "PUBLIC_WEBHOOK_URL", hide_env_values = true, value_name = "URL")]
    pub public_webhook_url: String,
    /// URL that Telnyx uses when it can't reach the first; the same path is appended
    #[arg(long, env = "PUBLIC_WEBHOOK_FAILOVER_URL", hide_env_values = true, value_name = "URL")]
    pub public_webhook_failover_url: Option<String>,
}

/// The sender of churches without one of their own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DefaultSender {
    /// Number in E.164; if not set, Telnyx chooses one of the profile.
    pub number: Option<String>,
    /// Telnyx messaging profile.
    pub messaging_profile_id: Option<String>,
}

impl TelnyxOptions {
    /// Checks the key: with a blank that was copied along, Telnyx would refuse every message.
    ///
    /// # Errors
    /// `TELNYX_API_KEY` is empty or contains white space.
    pub fn check_key(&self) -> Result<(), ConfigError> {
        let key = self.telnyx_api_key.expose_secret();
        if !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Ok(());
        }
        Err(ConfigError::new(
            "TELNYX_API_KEY",
            "must not be empty, and must not contain blanks or line breaks",
        ))
    }

    /// The default sender, if one is set. An empty variable counts as not set.
    ///
    /// # Errors
    /// `TELNYX_FROM` is not a phone number.
    pub fn default_sender(&self) -> Result<Option<DefaultSender>, ConfigError> {
        let set = |value: &Option<String>| value.clone().filter(|value| !value.is_empty());
        let (number, messaging_profile_id) = (set(&self.telnyx_from), set(&self.telnyx_messaging_profile_id));
        if number.as_deref().is_some_and(|number| !is_e164(number)) {
            return Err(ConfigError::new("TELNYX_FROM", "write the number as +15551230000"));
        }
        let sender = DefaultSender { number, messaging_profile_id };
        Ok((sender.number.is_some() || sender.messaging_profile_id.is_some()).then_some(sender))
    }

    /// The URL that messages are posted to.
    ///
    /// # Errors
    /// `TELNYX_BASE_URL` is not a URL.
    pub fn endpoint(&self) -> Result<Url, ConfigError> {
        let base = base_url("TELNYX_BASE_URL", &self.telnyx_base_url)?;
        format!("{base}/v2/messages").parse().map_err(|_| ConfigError::new("TELNYX_BASE_URL", "is not a URL"))
    }

    /// The URL of a recipient's webhooks, without the recipient's id.
    ///
    /// # Errors
    /// `PUBLIC_WEBHOOK_URL` is not a URL.
    pub fn webhook_prefix(&self) -> Result<String, ConfigError> {
        webhook_prefix("PUBLIC_WEBHOOK_URL", &self.public_webhook_url)
    }

    /// The failover URL of a recipient's webhooks, if one is set. An empty variable counts as not set.
    ///
    /// # Errors
    /// `PUBLIC_WEBHOOK_FAILOVER_URL` is not a URL.
    pub fn webhook_failover_prefix(&self) -> Result<Option<String>, ConfigError> {
        let set = self.public_webhook_failover_url.as_deref().filter(|url| !url.is_empty());
        set.map(|url| webhook_prefix("PUBLIC_WEBHOOK_FAILOVER_URL", url)).transpose()
    }
}

fn webhook_prefix(variable: &'static str, url: &str) -> Result<String, ConfigError> {
    let base = base_url(variable, url)?;
    if base.ends_with("/webhooks/telnyx") {
        let help = "leave out /webhooks/telnyx; it is appended with each recipient's id";
        return Err(ConfigError::new(variable, help));
    }
    Ok(format!("{base}/webhooks/telnyx/"))
}

/// An http(s) URL without query, fragment and trailing slash.
fn base_url(variable: &'static str, text: &str) -> Result<String, ConfigError> {
    // The error does not repeat the URL, which may contain a password.
    let wrong = |problem: &str| Err(ConfigError::new(variable, problem));
    match text.parse::<Url>() {
        Ok(url) if !matches!(url.scheme(), "http" | "https") || !url.has_host() => {
            wrong("is not an http or https URL")
        }
        Ok(url) if url.query().is_some() || url.fragment().is_some() => {
            wrong("must not have a query or fragment")
        }
        // Telnyx accepts at most 2000 characters, with path and recipient id.
        Ok(url) if url.as_str().len() > 1_900 => wrong("is too long"),
        Ok(url) => Ok(url.as_str().trim_end_matches('/').to_owned()),
        Err(_) => wrong("is not a URL; write https://host or https://host/path"),
    }
}

/// An empty id counts as not set.
fn profile_id(text: &str) -> Result<String, String> {
    if text.bytes().all(|byte| byte.is_ascii_graphic()) {
        Ok(text.into())
    } else {
        Err("an id must not contain blanks".into())
    }
}
