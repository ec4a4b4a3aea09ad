//! How the service is configured: every setting is a flag and an environment variable.

use std::net::SocketAddr;
use std::num::NonZeroUsize;

use common::broker::NatsOptions;
use common::retention::RetentionOptions;
use common::store::StoreOptions;
use common::telemetry::LogOptions;

/// Takes Telnyx's signed delivery webhooks, records them and announces the change.
#[derive(Debug, Clone, clap::Parser)]
#[command(name = "webhook-ingest", version)]
pub struct Settings {
    /// Where Telnyx's webhooks arrive
    #[arg(long, env = "INGEST_LISTEN", default_value = "0.0.0.0:8081", value_name = "ADDRESS")]
    pub ingest_listen: SocketAddr,
    /// Where operators ask for /livez, /readyz and /metrics
    #[arg(long, env = "INGEST_OPS_LISTEN", default_value = "127.0.0.1:9081", value_name = "ADDRESS")]
    pub ingest_ops_listen: SocketAddr,
    /// Telnyx's public keys (base64, from the portal under Keys & Credentials), comma separated; required
    #[arg(
        long,
        env = "TELNYX_PUBLIC_KEY",
        value_name = "KEY",
        default_value = "",
        hide_default_value = true
    )]
    pub telnyx_public_key: String,
    /// How the queue before the database is bounded
    #[command(flatten)]
    pub queue: QueueOptions,
    /// The record
    #[command(flatten)]
    pub store: StoreOptions,
    /// The broker
    #[command(flatten)]
    pub nats: NatsOptions,
    /// How long things are kept
    #[command(flatten)]
    pub retention: RetentionOptions,
    /// Logs
    #[command(flatten)]
    pub log: LogOptions,
}

/// How many webhooks wait, and how many are committed together.
#[derive(Debug, Clone, Copy, clap::Args)]
#[command(next_help_heading = "Queue")]
pub struct QueueOptions {
    /// Requests that are read, or wait for the commit under way, at most; one more is answered 503
    #[arg(long, env = "INGEST_QUEUE", default_value = "2048", value_name = "N")]
    pub ingest_queue: NonZeroUsize,
    /// Webhooks in one commit at most
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
    fn the_command_line_is_sound() {
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
    fn a_queue_that_holds_nothing_is_refused() {
        let arguments =
            ["webhook-ingest", "--database-url", "sqlite:x", "--nats-user", "u", "--nats-password", "p"];
        assert!(Settings::try_parse_from(arguments).is_ok());
        for zero in ["--ingest-queue", "--ingest-batch"] {
            assert!(Settings::try_parse_from(arguments.into_iter().chain([zero, "0"])).is_err(), "{zero}");
        }
    }
}
