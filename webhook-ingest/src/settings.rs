//! Settings: each is a flag and an environment variable.

use std::net::SocketAddr;
use std::num::NonZeroUsize;

use common::broker::NatsOptions;
use common::config::ConfigError;
use common::phone::is_e164;
use common::retention::RetentionOptions;
use common::store::StoreOptions;
use common::subject::ChurchId;
use common::telemetry::LogOptions;
use common::version::VERSION;

/// Receives Telnyx's signed delivery webhooks, records them and announces the changes.
#[derive(Debug, Clone, clap::Parser)]
#[command(name = "webhook-ingest", version = VERSION)]
pub struct Settings {
    /// Address that Telnyx's webhooks are sent to
    #[arg(long, env = "INGEST_LISTEN", default_value = "0.0.0.0:8081", value_name = "ADDRESS")]
    pub ingest_listen: SocketAddr,
    /// Address for operators: /livez, /readyz, /metrics
    #[arg(long, env = "INGEST_OPS_LISTEN", default_value = "127.0.0.1:9081", value_name = "ADDRESS")]
    pub ingest_ops_listen: SocketAddr,
    /// Public keys of the Telnyx account (base64, in the portal under Keys & Credentials), comma separated; required
    #[arg(
        long,
        env = "TELNYX_PUBLIC_KEY",
        value_name = "KEY",
        default_value = "",
        hide_default_value = true
    )]
    pub telnyx_public_key: String,
    /// Whose texts to the account's own number are
    #[command(flatten)]
    pub default_number: DefaultNumberOptions,
    /// Limits of the queue before the database
    #[command(flatten)]
    pub queue: QueueOptions,
    /// The database
    #[command(flatten)]
    pub store: StoreOptions,
    /// The broker
    #[command(flatten)]
    pub nats: NatsOptions,
    /// How long data is kept
    #[command(flatten)]
    pub retention: RetentionOptions,
    /// Logs
    #[command(flatten)]
    pub log: LogOptions,
}

/// The number of churches without a sender of their own, and the church that gets the texts to it.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Texts that come in")]
pub struct DefaultNumberOptions {
    /// The number that message-api sends from for churches without a sender of their own, in E.164
    #[arg(long, env = "TELNYX_FROM", value_name = "NUMBER")]
    pub telnyx_from: Option<String>,
    /// The church that gets the texts to TELNYX_FROM; without it they are kept as ignored. Texts to a number of
    /// `ops sender` go to its church
    #[arg(long, env = "TELNYX_FROM_CHURCH", value_name = "ID")]
    pub telnyx_from_church: Option<String>,
}

/// A number, and the church that gets the texts to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DefaultNumber {
    /// E.164.
    pub number: String,
    /// The church.
    pub church: ChurchId,
}

impl DefaultNumberOptions {
    /// The number with its church, if texts to it have one. An empty variable counts as not set.
    ///
    /// # Errors
    /// `TELNYX_FROM_CHURCH` is no church id, or there is no `TELNYX_FROM`.
    pub fn read(&self) -> Result<Option<DefaultNumber>, ConfigError> {
        let given = |text: &Option<String>| text.clone().filter(|text| !text.trim().is_empty());
        let Some(church) = given(&self.telnyx_from_church) else { return Ok(None) };
        let wrong = |help: String| ConfigError::new("TELNYX_FROM_CHURCH", help);
        let church = church.trim().parse().map_err(|error| wrong(format!("is no church id: {error}")))?;
        let number = given(&self.telnyx_from).ok_or_else(|| wrong("needs TELNYX_FROM, its number".into()))?;
        // One that is written otherwise would never be found in a webhook.
        if !is_e164(number.trim()) {
            return Err(ConfigError::new("TELNYX_FROM", "is no number in E.164; write it as +15551234567"));
        }
        Ok(Some(DefaultNumber { number: number.trim().to_owned(), church }))
    }
}

/// Limits of the queue before the database.
#[derive(Debug, Clone, Copy, clap::Args)]
#[command(next_help_heading = "Queue")]
pub struct QueueOptions {
    /// Memory for requests that are being read or wait for a commit, each with its body and 4 KiB; further ones are
    /// answered 503
    #[arg(long, env = "INGEST_QUEUE_BYTES", default_value_t = 64 << 20, value_name = "BYTES",
        value_parser = clap::value_parser!(u32).range(2_097_152..))]
    pub ingest_queue_bytes: u32,
    /// Most webhooks in one commit
    #[arg(long, env = "INGEST_BATCH", default_value = "256", value_name = "N")]
    pub ingest_batch: NonZeroUsize,
}

impl common::service::Settings for Settings {
    const NAME: &'static str = "webhook-ingest";
    const OPS_LISTEN: &'static str = "INGEST_OPS_LISTEN";

    fn ops_listen(&self) -> SocketAddr {
        self.ingest_ops_listen
    }

    fn log(&self) -> &LogOptions {
        &self.log
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, Parser as _};

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Settings::command().debug_assert();
    }

    #[test]
    fn every_setting_is_an_environment_variable_and_no_secret_is_shown() {
        for argument in Settings::command().get_arguments() {
            assert!(argument.get_env().is_some(), "{}", argument.get_id());
        }
        let help = Settings::command().render_long_help().to_string();
        assert!(help.contains("NATS_PASSWORD") && !help.contains("NATS_PASSWORD="));
    }

    #[test]
    fn the_church_of_the_default_number_needs_the_number() {
        let read = |from: &str, church: &str| {
            let [telnyx_from, telnyx_from_church] = [from, church].map(|text| Some(text.to_owned()));
            DefaultNumberOptions { telnyx_from, telnyx_from_church }.read()
        };
        let expected = DefaultNumber { number: "+15550000000".into(), church: "grace".parse().unwrap() };
        assert_eq!(read("+15550000000", "grace").unwrap(), Some(expected));
        assert_eq!(read("+15550000000", "").unwrap(), None);
        for (from, church) in [("", "grace"), ("+15550000000", "two words")] {
            let error = read(from, church).unwrap_err().to_string();
            assert!(error.starts_with("TELNYX_FROM_CHURCH"), "{error}");
        }
    }

    #[test]
    fn a_batch_of_zero_and_a_queue_without_room_for_a_body_are_refused() {
        let arguments =
            ["webhook-ingest", "--database-url", "sqlite:x", "--nats-user", "u", "--nats-password", "p"];
        assert!(Settings::try_parse_from(arguments).is_ok());
        for wrong in [["--ingest-queue-bytes", "1000000"], ["--ingest-batch", "0"]] {
            assert!(Settings::try_parse_from(arguments.into_iter().chain(wrong)).is_err(), "{wrong:?}");
        }
    }
}
