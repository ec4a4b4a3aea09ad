//! The operators' commands.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use common::store::{Store, StoreOptions};
use deploy::nats;
use deploy::provision::{Limits, Outcome, provision};
use secrecy::{ExposeSecret as _, SecretString};

/// What operators do with a running installation.
#[derive(Parser)]
#[command(name = "ops", version)]
struct Command {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Make the stream CHURCH, or bring its limits up to date; says what was done
    Provision(Provision),
    /// Sum the books of the database; exit code 1 where they do not add up
    Audit(StoreOptions),
}

#[derive(clap::Args)]
struct Provision {
    /// The broker: nats://host:port
    #[arg(long, env = "NATS_URL", default_value = "nats://127.0.0.1:4222", value_name = "URL")]
    nats_url: String,
    /// The user that may change the stream
    #[arg(long, env = "NATS_USER", default_value = "provisioner")]
    nats_user: String,
    /// The user's password
    #[arg(long, env = "NATS_PASSWORD", hide_env_values = true)]
    nats_password: SecretString,
    /// PEM file with the CA that signed the servers' certificates; turns TLS on
    #[arg(long, env = "NATS_CA_FILE", value_name = "FILE")]
    nats_ca_file: Option<PathBuf>,
    #[command(flatten)]
    limits: Limits,
}

#[tokio::main]
async fn main() -> ExitCode {
    let outcome = match Command::parse().what {
        What::Provision(options) => provision_stream(options).await,
        What::Audit(options) => audit(&options).await,
    };
    outcome.unwrap_or_else(|error| {
        // Standard error may be closed; there is nobody else to tell.
        let _ = writeln!(std::io::stderr(), "ops: {error:#}");
        ExitCode::FAILURE
    })
}

async fn provision_stream(options: Provision) -> anyhow::Result<ExitCode> {
    let password = options.nats_password.expose_secret();
    let ca_file = options.nats_ca_file.as_deref();
    let client = nats::connect_with(&options.nats_url, &options.nats_user, password, ca_file).await?;
    let mut out = std::io::stdout();
    match provision(client, &options.limits).await? {
        Outcome::Made => writeln!(out, "made the stream CHURCH")?,
        Outcome::UpToDate => writeln!(out, "the stream CHURCH is as it should be")?,
        Outcome::Updated(changes) => {
            writeln!(out, "updated the stream CHURCH:\n  {}", changes.join("\n  "))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn audit(options: &StoreOptions) -> anyhow::Result<ExitCode> {
    let audit = Store::new(options)?.audit().await.context("can't read the books")?;
    let mut out = std::io::stdout();
    writeln!(out, "{}", serde_json::to_string_pretty(&audit)?)?;
    if audit.is_sound() {
        return Ok(ExitCode::SUCCESS);
    }
    writeln!(out, "the books do not add up")?;
    Ok(ExitCode::FAILURE)
}
