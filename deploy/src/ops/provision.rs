//! `ops provision`: creates or updates the stream.

use std::path::PathBuf;
use std::process::ExitCode;

use common::config::ConfigError;
use secrecy::{ExposeSecret as _, SecretString};

use super::output::Output;
use super::stream::{Limits, Outcome, provision};
use crate::programs::nats;

/// The broker's user that may change the stream.
const USER: &str = "provisioner";
/// The variable of its password; `nats.conf` has it from there, too.
const OWN_PASSWORD: &str = "NATS_PROVISIONER_PASSWORD";

#[derive(clap::Args)]
pub(super) struct Provision {
    /// The broker: nats://host:port
    #[arg(
        long,
        env = "NATS_URL",
        hide_env_values = true,
        default_value = "nats://127.0.0.1:4222",
        value_name = "URL"
    )]
    nats_url: String,
    /// The broker's user that may change the stream
    #[arg(long, env = "NATS_USER", default_value = USER)]
    nats_user: String,
    /// The user's password
    #[arg(long, env = "NATS_PASSWORD", hide_env_values = true)]
    nats_password: Option<SecretString>,
    /// Password of the user provisioner, as nats.conf gets it; if it is set, that user connects
    #[arg(long, env = OWN_PASSWORD, hide_env_values = true)]
    nats_provisioner_password: Option<SecretString>,
    /// PEM file with the CA of the servers' certificates; enables TLS
    #[arg(long, env = "NATS_CA_FILE", value_name = "FILE")]
    nats_ca_file: Option<PathBuf>,
    #[command(flatten)]
    limits: Limits,
}

impl Provision {
    fn user(&self) -> Result<nats::User<'_>, ConfigError> {
        match (&self.nats_provisioner_password, &self.nats_password) {
            (Some(own), _) => {
                Ok(nats::User { name: USER, password: own.expose_secret(), variable: OWN_PASSWORD })
            }
            (None, Some(password)) => Ok(nats::User {
                name: &self.nats_user,
                password: password.expose_secret(),
                variable: "NATS_PASSWORD",
            }),
            (None, None) => {
                Err(ConfigError::new(OWN_PASSWORD, "set it to the password of the user provisioner"))
            }
        }
    }
}

pub(super) async fn run(options: Provision, output: Output) -> anyhow::Result<ExitCode> {
    let client =
        nats::connect_with(&options.nats_url, options.user()?, options.nats_ca_file.as_deref()).await?;
    output.say(match provision(client, &options.limits).await? {
        Outcome::Created => "created the stream CHURCH".into(),
        Outcome::UpToDate => "the stream CHURCH is up to date".into(),
        Outcome::Updated(changes) => format!("updated the stream CHURCH:\n  {}", changes.join("\n  ")),
    })?;
    Ok(ExitCode::SUCCESS)
}
