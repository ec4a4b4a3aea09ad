//! Settings: each is a flag and an environment variable.

use std::net::SocketAddr;
use std::time::Duration;

use clap::Parser;
use common::broker::NatsOptions;
use common::claims::JwtOptions;
use common::config::ConfigError;
use common::cors::CorsOptions;
use common::retention::RetentionOptions;
use common::store::{SendLimits, StoreOptions};
use common::telemetry::LogOptions;
use common::version::VERSION;

use self::values::{country, duration};
use crate::phone::Country;

mod back_end;
mod telnyx;
mod values;

pub use back_end::BackEndOptions;
pub use telnyx::{DefaultSender, TelnyxOptions};

/// The front end's REST API, and sending through Telnyx.
#[derive(Debug, Clone, Parser)]
#[command(name = "message-api", version = VERSION)]
pub struct Settings {
    /// Address that front ends call
    #[arg(long, env = "API_LISTEN", default_value = "0.0.0.0:8080", value_name = "ADDRESS")]
    pub api_listen: SocketAddr,
    /// Address for operators: /livez, /readyz, /metrics
    #[arg(long, env = "API_OPS_LISTEN", default_value = "127.0.0.1:9080", value_name = "ADDRESS")]
    pub api_ops_listen: SocketAddr,
    /// Longest time for a request
    #[arg(long, env = "API_REQUEST_TIMEOUT", default_value = "15s", value_parser = duration, value_name = "90s|15m|6h|3d")]
    pub api_request_timeout: Duration,
    /// Country of phone numbers without a country code, in two letters (US, NG, KR); by default they are refused
    #[arg(long, env = "DEFAULT_COUNTRY", value_parser = country, value_name = "COUNTRY")]
    pub default_country: Option<Country>,
    /// Roles (the token's `role`) that may send and cancel, comma separated; by default everybody may. Authors may
    /// always cancel their own messages
    #[arg(long, env = "SEND_ROLES", value_delimiter = ',', value_name = "ROLE")]
    pub send_roles: Vec<String>,
    /// Telnyx.
    #[command(flatten)]
    pub telnyx: TelnyxOptions,
    /// The product's own back end.
    #[command(flatten)]
    pub back_end: BackEndOptions,
    /// How messages are sent.
    #[command(flatten)]
    pub sending: SendOptions,
    /// How tokens are checked.
    #[command(flatten)]
    pub jwt: JwtOptions,
    /// Which web pages may call the API.
    #[command(flatten)]
    pub cors: CorsOptions,
    /// The database.
    #[command(flatten)]
    pub store: StoreOptions,
    /// How long data is kept.
    #[command(flatten)]
    pub retention: RetentionOptions,
    /// The broker.
    #[command(flatten)]
    pub nats: NatsOptions,
    /// Logs.
    #[command(flatten)]
    pub log: LogOptions,
}

/// How fast messages are sent, and how long the service waits for receipts. Times are a number with s, m, h or d.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Sending")]
pub struct SendOptions {
    /// Most messages per second, over all processes; `ops sender --rate` sets a church's own rate
    #[arg(
        long,
        env = "SEND_RATE",
        default_value_t = 50,
        value_name = "N",
        value_parser = clap::value_parser!(u32).range(1..=10_000)
    )]
    pub send_rate: u32,
    /// Most requests to Telnyx at the same time
    #[arg(
        long,
        env = "SEND_CONCURRENCY",
        default_value_t = 16,
        value_name = "N",
        value_parser = clap::value_parser!(u32).range(1..=1_000)
    )]
    pub send_concurrency: u32,
    /// Longest wait for Telnyx's answer; after that it is unknown whether Telnyx accepted the message
    #[arg(long, env = "SEND_TIMEOUT", default_value = "15s", value_parser = duration, value_name = "90s|15m|6h|3d")]
    pub send_timeout: Duration,
    /// A message that an outage or Telnyx holds back for longer fails as `not_sent` instead of going out late
    #[arg(long, env = "SEND_WITHIN", default_value = "12h", value_parser = duration, value_name = "90s|15m|6h|3d")]
    pub send_within: Duration,
    /// If it is unknown whether Telnyx accepted a message, it fails after this time without a webhook; must be longer
    /// than SEND_TIMEOUT
    #[arg(long, env = "UNRESOLVED_AFTER", default_value = "6h", value_parser = duration, value_name = "90s|15m|6h|3d")]
    pub unresolved_after: Duration,
    /// An accepted message without a receipt that Telnyx no longer has is closed as unconfirmed after this time
    #[arg(long, env = "UNCONFIRMED_AFTER", default_value = "72h", value_parser = duration, value_name = "90s|15m|6h|3d")]
    pub unconfirmed_after: Duration,
    /// Time until a message without a receipt is looked up at Telnyx. It is looked up again after 4 and 24 times this
    /// time, then after every 96 times, up to 960 times: one hour, six hours, then daily for ten days by default
    #[arg(long, env = "ASK_AFTER", default_value = "15m", value_parser = duration, value_name = "90s|15m|6h|3d")]
    pub ask_after: Duration,
    /// Most lookups at Telnyx per second
    #[arg(
        long,
        env = "ASK_RATE",
        default_value_t = 5,
        value_name = "N",
        value_parser = clap::value_parser!(u32).range(1..=100)
    )]
    pub ask_rate: u32,
    /// Readiness reports `degraded: receipts` if a message was accepted longer ago than this and no webhook came for it
    #[arg(long, env = "RECEIPTS_WITHIN", default_value = "10m", value_parser = duration, value_name = "90s|15m|6h|3d")]
    pub receipts_within: Duration,
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
    /// Checks settings that depend on each other.
    ///
    /// # Errors
    /// `UNRESOLVED_AFTER` is not longer than `SEND_TIMEOUT`.
    pub fn check(&self) -> Result<(), ConfigError> {
        if self.unresolved_after > self.send_timeout {
            return Ok(());
        }
        let help = "must be longer than SEND_TIMEOUT, the longest wait for Telnyx's answer";
        Err(ConfigError::new("UNRESOLVED_AFTER", help))
    }

    /// Rate and time limit for the store's claims.
    pub(crate) fn limits(&self) -> SendLimits {
        SendLimits { rate: Some(self.send_rate), within: Some(self.send_within) }
    }
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
    fn the_command_line_is_consistent() {
        Settings::command().debug_assert();
    }

    #[test]
    fn no_secret_is_printed() {
        assert!(!format!("{:?}", parse(&[])).contains("KEY"));
    }

    #[test]
    fn urls_are_joined_without_a_double_slash() {
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
    fn an_empty_variable_sets_no_default_sender() {
        let sender = |arguments: &[&str]| parse(arguments).telnyx.default_sender().unwrap();
        assert_eq!(sender(&[]), None);
        assert_eq!(sender(&["--telnyx-from=", "--telnyx-messaging-profile-id="]), None);
        let number = sender(&["--telnyx-from=+15551230000"]).unwrap().number;
        assert_eq!(number.as_deref(), Some("+15551230000"));
    }
}
