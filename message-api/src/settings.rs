//! The command line and the environment.

use std::net::SocketAddr;
use std::time::Duration;

use clap::Parser;
use common::broker::NatsOptions;
use common::claims::JwtOptions;
use common::config::ConfigError;
use common::cors::CorsOptions;
use common::retention::RetentionOptions;
use common::store::StoreOptions;
use common::telemetry::LogOptions;
use reqwest::Url;
use secrecy::{ExposeSecret as _, SecretString};

use crate::phone::{Country, is_e164};

/// The front end's REST API, and sending through Telnyx.
#[derive(Debug, Clone, Parser)]
#[command(name = "message-api", version)]
pub struct Settings {
    /// Where front ends call
    #[arg(long, env = "API_LISTEN", default_value = "0.0.0.0:8080", value_name = "ADDRESS")]
    pub api_listen: SocketAddr,
    /// Where operators look: /livez, /readyz, /metrics
    #[arg(long, env = "API_OPS_LISTEN", default_value = "127.0.0.1:9080", value_name = "ADDRESS")]
    pub api_ops_listen: SocketAddr,
    /// Longest time that a request may take
    #[arg(long, env = "API_REQUEST_TIMEOUT", default_value = "15s", value_parser = duration, value_name = "TIME")]
    pub api_request_timeout: Duration,
    /// Country of the numbers that come without a country code, in two letters: US, NG, KR; without it they are refused
    #[arg(long, env = "DEFAULT_COUNTRY", value_parser = country, value_name = "COUNTRY")]
    pub default_country: Option<Country>,
    /// Telnyx.
    #[command(flatten)]
    pub telnyx: TelnyxOptions,
    /// How messages are sent.
    #[command(flatten)]
    pub sending: SendOptions,
    /// How tokens are checked.
    #[command(flatten)]
    pub jwt: JwtOptions,
    /// Which web pages may call.
    #[command(flatten)]
    pub cors: CorsOptions,
    /// The database.
    #[command(flatten)]
    pub store: StoreOptions,
    /// How long things are kept.
    #[command(flatten)]
    pub retention: RetentionOptions,
    /// The broker.
    #[command(flatten)]
    pub nats: NatsOptions,
    /// Logs.
    #[command(flatten)]
    pub log: LogOptions,
}

/// Who we are at Telnyx, and where its webhooks come to.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Telnyx")]
pub struct TelnyxOptions {
    /// Key of the Telnyx account
    #[arg(long, env = "TELNYX_API_KEY", hide_env_values = true, value_name = "KEY")]
    pub telnyx_api_key: SecretString,
    /// Telnyx, or what stands in for it
    #[arg(
        long,
        env = "TELNYX_BASE_URL",
        hide_env_values = true,
        default_value = "https://api.telnyx.com",
        value_name = "URL"
    )]
    pub telnyx_base_url: String,
    /// Number that a church without a sender of its own sends from; for an installation with one church
    #[arg(long, env = "TELNYX_FROM", value_name = "NUMBER")]
    pub telnyx_from: Option<String>,
    /// Messaging profile that goes with it
    #[arg(long, env = "TELNYX_MESSAGING_PROFILE_ID", value_name = "ID", value_parser = profile_id)]
    pub telnyx_messaging_profile_id: Option<String>,
    /// Where Telnyx reaches webhook-ingest; /webhooks/telnyx/{recipientId} is appended
    #[arg(long, env = "PUBLIC_WEBHOOK_URL", hide_env_values = true, value_name = "URL")]
    pub public_webhook_url: String,
    /// Where Telnyx tries it when that can't be reached; the same is appended
    #[arg(long, env = "PUBLIC_WEBHOOK_FAILOVER_URL", hide_env_values = true, value_name = "URL")]
    pub public_webhook_failover_url: Option<String>,
}

/// How fast messages are sent, and how long receipts are waited for. Times are a number with s, m, h or d.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Sending")]
pub struct SendOptions {
    /// Messages a second at most, by all processes together; `ops sender --rate` sets a church's own
    #[arg(
        long,
        env = "SEND_RATE",
        default_value_t = 50,
        value_name = "N",
        value_parser = clap::value_parser!(u32).range(1..=10_000)
    )]
    pub send_rate: u32,
    /// Messages on their way to Telnyx at the same time at most
    #[arg(
        long,
        env = "SEND_CONCURRENCY",
        default_value_t = 16,
        value_name = "N",
        value_parser = clap::value_parser!(u32).range(1..=1_000)
    )]
    pub send_concurrency: u32,
    /// Longest time that Telnyx may take to answer; then nobody knows whether it accepted
    #[arg(long, env = "SEND_TIMEOUT", default_value = "15s", value_parser = duration, value_name = "TIME")]
    pub send_timeout: Duration,
    /// What a pause or Telnyx holds back for longer than this fails as not sent, and does not go out late
    #[arg(long, env = "SEND_WITHIN", default_value = "12h", value_parser = duration, value_name = "TIME")]
    pub send_within: Duration,
    /// A message of which nobody knows whether Telnyx accepted it fails after this time without a webhook; longer than
    /// SEND_TIMEOUT
    #[arg(long, env = "UNRESOLVED_AFTER", default_value = "6h", value_parser = duration, value_name = "TIME")]
    pub unresolved_after: Duration,
    /// An accepted message that Telnyx itself does not know any more is closed as unconfirmed after this time
    #[arg(long, env = "UNCONFIRMED_AFTER", default_value = "72h", value_parser = duration, value_name = "TIME")]
    pub unconfirmed_after: Duration,
    /// Without a receipt, Telnyx is asked for the first time after so long; then after four times, a day (96 times) and
    /// so on, up to ten days (960 times)
    #[arg(long, env = "ASK_AFTER", default_value = "15m", value_parser = duration, value_name = "TIME")]
    pub ask_after: Duration,
    /// Messages that Telnyx is asked for in a second at most
    #[arg(
        long,
        env = "ASK_RATE",
        default_value_t = 5,
        value_name = "N",
        value_parser = clap::value_parser!(u32).range(1..=100)
    )]
    pub ask_rate: u32,
    /// Readiness says `degraded: receipts` when no webhook came for what was accepted longer ago than this
    #[arg(long, env = "RECEIPTS_WITHIN", default_value = "10m", value_parser = duration, value_name = "TIME")]
    pub receipts_within: Duration,
}

/// Who a church without a sender of its own sends as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DefaultSender {
    /// E.164; without it Telnyx takes a number of the profile.
    pub number: Option<String>,
    /// Telnyx messaging profile.
    pub messaging_profile_id: Option<String>,
}

impl common::service::Settings for Settings {
    const NAME: &'static str = "message-api";
    const OPS_LISTEN: &'static str = "API_OPS_LISTEN";

    fn ops_listen(&self) -> SocketAddr {
        self.api_ops_listen
    }

    fn log(&self) -> &LogOptions {
        &self.log
    }
}

impl SendOptions {
    /// Checks what must hold between the settings.
    ///
    /// # Errors
    /// A message would be given up while Telnyx may still answer.
    pub fn check(&self) -> Result<(), ConfigError> {
        if self.unresolved_after > self.send_timeout {
            return Ok(());
        }
        let help = "give a longer time than SEND_TIMEOUT, for which Telnyx may take to answer";
        Err(ConfigError::new("UNRESOLVED_AFTER", help))
    }
}

impl TelnyxOptions {
    /// Checks the key. A blank in it comes from copying, and Telnyx would refuse every message.
    ///
    /// # Errors
    /// `TELNYX_API_KEY` is empty or holds a blank.
    pub fn check_key(&self) -> Result<(), ConfigError> {
        let key = self.telnyx_api_key.expose_secret();
        if !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Ok(());
        }
        Err(ConfigError::new(
            "TELNYX_API_KEY",
            "a key has at least one character, and no blank or line break",
        ))
    }

    /// The configured default sender, if there is one. An empty variable counts as not set.
    ///
    /// # Errors
    /// `TELNYX_FROM` is no number.
    pub fn default_sender(&self) -> Result<Option<DefaultSender>, ConfigError> {
        let set = |value: &Option<String>| value.clone().filter(|value| !value.is_empty());
        let (number, messaging_profile_id) = (set(&self.telnyx_from), set(&self.telnyx_messaging_profile_id));
        if number.as_deref().is_some_and(|number| !is_e164(number)) {
            return Err(ConfigError::new("TELNYX_FROM", "write the number as +15551230000"));
        }
        let sender = DefaultSender { number, messaging_profile_id };
        Ok((sender.number.is_some() || sender.messaging_profile_id.is_some()).then_some(sender))
    }

    /// The address that messages are posted to.
    ///
    /// # Errors
    /// `TELNYX_BASE_URL` is no address.
    pub fn endpoint(&self) -> Result<Url, ConfigError> {
        let base = base_url("TELNYX_BASE_URL", &self.telnyx_base_url)?;
        format!("{base}/v2/messages")
            .parse()
            .map_err(|_| ConfigError::new("TELNYX_BASE_URL", "is no address"))
    }

    /// The address of a recipient's webhooks, without the recipient's id.
    ///
    /// # Errors
    /// `PUBLIC_WEBHOOK_URL` is no address.
    pub fn webhook_prefix(&self) -> Result<String, ConfigError> {
        webhook_prefix("PUBLIC_WEBHOOK_URL", &self.public_webhook_url)
    }

    /// The second address of a recipient's webhooks, if there is one. An empty variable counts as not set.
    ///
    /// # Errors
    /// `PUBLIC_WEBHOOK_FAILOVER_URL` is no address.
    pub fn webhook_failover_prefix(&self) -> Result<Option<String>, ConfigError> {
        let set = self.public_webhook_failover_url.as_deref().filter(|url| !url.is_empty());
        set.map(|url| webhook_prefix("PUBLIC_WEBHOOK_FAILOVER_URL", url)).transpose()
    }
}

fn webhook_prefix(variable: &'static str, url: &str) -> Result<String, ConfigError> {
    let base = base_url(variable, url)?;
    if base.ends_with("/webhooks/telnyx") {
        let help = "leave /webhooks/telnyx out; it is appended with each recipient's id";
        return Err(ConfigError::new(variable, help));
    }
    Ok(format!("{base}/webhooks/telnyx/"))
}

/// An http(s) address without query, fragment and the last slash.
fn base_url(variable: &'static str, text: &str) -> Result<String, ConfigError> {
    // The address is not repeated: it may hold a password.
    let wrong = |problem: &str| Err(ConfigError::new(variable, problem));
    match text.parse::<Url>() {
        Ok(url) if !matches!(url.scheme(), "http" | "https") || !url.has_host() => {
            wrong("is no http or https address")
        }
        Ok(url) if url.query().is_some() || url.fragment().is_some() => wrong("must end with its path"),
        // Telnyx takes at most 2000 characters, path and recipient id included.
        Ok(url) if url.as_str().len() > 1_900 => wrong("is too long"),
        Ok(url) => Ok(url.as_str().trim_end_matches('/').to_owned()),
        Err(_) => wrong("is no address; write https://host or https://host/path"),
    }
}

/// An empty profile counts as none.
fn profile_id(text: &str) -> Result<String, String> {
    if text.bytes().all(|byte| byte.is_ascii_graphic()) {
        Ok(text.into())
    } else {
        Err("an id has no blank".into())
    }
}

fn country(text: &str) -> Result<Country, String> {
    let country = text.to_ascii_uppercase().parse();
    country.map_err(|_| "write the two letters of the country (ISO 3166), as US, NG or KR".into())
}

/// Reads `90`, `90s`, `15m`, `6h`, `3d`; at most a year.
fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = match text.find(|c: char| !c.is_ascii_digit()) {
        Some(end) => text.split_at(end),
        None => (text, "s"),
    };
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
    use clap::CommandFactory as _;

    use super::*;

    fn parse(more: &[&str]) -> Settings {
        let needed = [
            "message-api",
            "--telnyx-api-key=KEY",
            "--database-url=sqlite:/nowhere",
            "--nats-user=u",
            "--nats-password=p",
        ];
        let webhooks = ["--public-webhook-url=https://hooks.example.org/"];
        let is_given = more.iter().any(|argument| argument.starts_with("--public-webhook-url"));
        let webhooks = webhooks.iter().filter(|_| !is_given);
        Settings::try_parse_from(needed.iter().chain(webhooks).chain(more)).unwrap()
    }

    #[test]
    fn the_command_line_is_sound() {
        Settings::command().debug_assert();
    }

    #[test]
    fn no_secret_is_printed() {
        assert!(!format!("{:?}", parse(&[])).contains("KEY"));
    }

    #[test]
    fn addresses_are_joined_without_a_doubled_slash() {
        let settings = parse(&["--telnyx-base-url=http://127.0.0.1:9/"]);
        assert_eq!(settings.telnyx.endpoint().unwrap().as_str(), "http://127.0.0.1:9/v2/messages");
        assert_eq!(settings.telnyx.webhook_prefix().unwrap(), "https://hooks.example.org/webhooks/telnyx/");
    }

    #[test]
    fn a_wrong_setting_is_named() {
        let wrong = |argument: &str| parse(&[argument]).telnyx;
        for url in [
            "--telnyx-base-url=api.telnyx.com",
            "--telnyx-base-url=ftp://x",
            "--telnyx-base-url=https://x/?a=b",
        ] {
            assert!(wrong(url).endpoint().unwrap_err().to_string().starts_with("TELNYX_BASE_URL"), "{url}");
        }
        let error = wrong("--public-webhook-url=https://x/webhooks/telnyx/").webhook_prefix().unwrap_err();
        assert!(error.to_string().starts_with("PUBLIC_WEBHOOK_URL"), "{error}");
        for wrong_url in ["ftp://user:hidden@x", "https://user:hidden@x/?a=b", "https://user:hidden@x:port"] {
            let error = wrong(&format!("--public-webhook-url={wrong_url}")).webhook_prefix().unwrap_err();
            assert!(!error.to_string().contains("hidden"), "{error}");
        }
        let error = wrong("--telnyx-from=5551230000").default_sender().unwrap_err();
        assert!(error.to_string().starts_with("TELNYX_FROM"), "{error}");
    }

    #[test]
    fn an_empty_variable_is_no_default_sender() {
        let sender = |arguments: &[&str]| parse(arguments).telnyx.default_sender().unwrap();
        assert_eq!(sender(&[]), None);
        assert_eq!(sender(&["--telnyx-from=", "--telnyx-messaging-profile-id="]), None);
        let number = sender(&["--telnyx-from=+15551230000"]).unwrap().number;
        assert_eq!(number.as_deref(), Some("+15551230000"));
    }

    #[test]
    fn times_are_numbers_with_a_unit() {
        for (text, seconds) in [("90", 90), ("90s", 90), ("15m", 900), ("6h", 21_600), ("3d", 259_200)] {
            assert_eq!(duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for wrong in ["", "s", "-1s", "1.5h", "1w", "0s", "400d", "99999999999999999999s"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }
}
