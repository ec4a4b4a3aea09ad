//! `ops provision`: creates or updates the stream.

use std::path::PathBuf;
use std::process::ExitCode;

use secrecy::{ExposeSecret as _, SecretString};

use super::output::Output;
use super::stream::{Limits, Outcome, provision};
use crate::programs::nats;

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
    #[arg(long, env = "NATS_USER", default_value = "provisioner")]
    nats_user: String,
    /// The user's password
    #[arg(long, env = "NATS_PASSWORD", hide_env_values = true)]
    nats_password: SecretString,
    /// PEM file with the CA of the servers' certificates; enables TLS
    #[arg(long, env = "NATS_CA_FILE", value_name = "FILE")]
    nats_ca_file: Option<PathBuf>,
    #[command(flatten)]
    limits: Limits,
}

pub(super) async fn run(options: Provision, output: Output) -> anyhow::Result<ExitCode> {
    let user = nats::User {
        name: &options.nats_user,
        password: options.nats_password.expose_secret(),
        variable: "NATS_PASSWORD",
    };
    let client = nats::connect_with(&options.nats_url, user, options.nats_ca_file.as_deref()).await?;
    output.say(match provision(client, &options.limits).await? {
        Outcome::Created => "created the stream CHURCH".into(),
        Outcome::UpToDate => "the stream CHURCH is up to date".into(),
        Outcome::Updated(changes) => format!("updated the stream CHURCH:\n  {}", changes.join("\n  ")),
    })?;
    Ok(ExitCode::SUCCESS)
}
