//! The broker that a command reads, as its user `ops`.

use std::path::PathBuf;

use common::config::ConfigError;
use secrecy::{ExposeSecret as _, SecretString};

use crate::programs::nats;

/// The variable of the user's password; `nats.conf` has it from there, too.
pub(super) const PASSWORD: &str = "NATS_OPS_PASSWORD";
/// The broker's user for people.
const USER: &str = "ops";

/// The broker, and the password of its user `ops`.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Broker")]
pub(super) struct BrokerOptions {
    /// Servers, comma separated: nats://host:port
    #[arg(
        long,
        env = "NATS_URL",
        hide_env_values = true,
        default_value = "nats://127.0.0.1:4222",
        value_name = "URL"
    )]
    nats_url: String,
    /// Password of the broker's user ops
    #[arg(long, env = PASSWORD, hide_env_values = true, value_name = "PASSWORD")]
    nats_ops_password: Option<SecretString>,
    /// PEM file with the CA of the servers' certificates; enables TLS
    #[arg(long, env = "NATS_CA_FILE", value_name = "FILE")]
    nats_ca_file: Option<PathBuf>,
}

impl BrokerOptions {
    /// Connects.
    ///
    /// # Errors
    /// There is no password, the broker is away, or it refuses the password.
    pub(super) async fn connect(&self) -> anyhow::Result<async_nats::Client> {
        let missing = || ConfigError::new(PASSWORD, "set it to the password of the broker's user ops");
        let password = self.password().ok_or_else(missing)?;
        let user = nats::User { name: USER, password: password.expose_secret(), variable: PASSWORD };
        nats::connect_with(&self.nats_url, user, self.nats_ca_file.as_deref()).await
    }

    /// Connects as another user.
    ///
    /// # Errors
    /// The broker is away, or refuses the password.
    pub(super) async fn connect_as(
        &self,
        name: &str,
        password: &str,
        variable: &'static str,
        denials: nats::Denials,
    ) -> anyhow::Result<async_nats::Client> {
        let user = nats::User { name, password, variable };
        nats::connect_and_note(&self.nats_url, user, self.nats_ca_file.as_deref(), denials).await
    }

    /// Connects if there is a password.
    ///
    /// # Errors
    /// As [`BrokerOptions::connect`].
    pub(super) async fn connect_if_set(&self) -> anyhow::Result<Option<async_nats::Client>> {
        match self.password() {
            Some(_) => self.connect().await.map(Some),
            None => Ok(None),
        }
    }

    /// An empty variable counts as not set.
    fn password(&self) -> Option<&SecretString> {
        self.nats_ops_password.as_ref().filter(|password| !password.expose_secret().is_empty())
    }
}
