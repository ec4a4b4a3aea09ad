//! The operators' commands.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use common::event::timestamp;
use common::revocation::Revocation;
use common::store::{Sender, Store, StoreError, StoreOptions};
use common::subject::ChurchId;
use deploy::nats;
use deploy::provision::{Limits, Outcome, provision};
use secrecy::{ExposeSecret as _, SecretString};
use time::OffsetDateTime;

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
    /// Take tokens back: of one user of a church, or of everybody in it. In force everywhere within a second
    Revoke(Revoke),
    /// Set the number that a church sends from, its messaging profile, and how fast it may send
    Sender(SenderOptions),
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

#[derive(clap::Args)]
struct Revoke {
    #[command(flatten)]
    store: StoreOptions,
    /// The church
    #[arg(long)]
    church: ChurchId,
    /// The user; everybody in the church if not given
    #[arg(long)]
    user: Option<String>,
    /// Take back what was issued until then: 2026-11-22T20:15:00Z; now if not given. A token without `iat` counts as
    /// issued long ago
    #[arg(long, value_name = "TIME", value_parser = time)]
    issued_before: Option<OffsetDateTime>,
}

#[derive(clap::Args)]
struct SenderOptions {
    #[command(flatten)]
    store: StoreOptions,
    /// The church
    #[arg(long)]
    church: ChurchId,
    /// The number in E.164, which no other church has
    #[arg(long)]
    number: String,
    /// The church's own messaging profile: an opt-out blocks a whole profile
    #[arg(long, value_name = "ID")]
    messaging_profile_id: Option<String>,
    /// Messages a second at most from this number, as its carriers allow; without it only the rate of all counts
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rate: Option<u32>,
}

fn time(text: &str) -> Result<OffsetDateTime, String> {
    timestamp::parse(text).ok_or_else(|| "write a time as 2026-11-22T20:15:00Z".into())
}

#[tokio::main]
async fn main() -> ExitCode {
    let outcome = match Command::parse().what {
        What::Provision(options) => provision_stream(options).await,
        What::Audit(options) => audit(&options).await,
        What::Revoke(options) => revoke(options).await,
        What::Sender(options) => set_sender(options).await,
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

async fn revoke(options: Revoke) -> anyhow::Result<ExitCode> {
    let until = options.issued_before.unwrap_or_else(OffsetDateTime::now_utc);
    let revocation = Revocation::new(options.church, options.user, until);
    Store::new(&options.store)?.revoke(&revocation).await.context("can't record the revocation")?;
    let whose = revocation.user_id.as_deref().unwrap_or("everybody");
    let until = timestamp::to_text(until);
    writeln!(
        std::io::stdout(),
        "tokens of {whose} in {} issued until {until} are revoked",
        revocation.church_id
    )?;
    Ok(ExitCode::SUCCESS)
}

async fn set_sender(options: SenderOptions) -> anyhow::Result<ExitCode> {
    let number = options.number;
    let is_e164 = number.strip_prefix('+').is_some_and(|digits| {
        (8..=15).contains(&digits.len())
            && digits.bytes().all(|b| b.is_ascii_digit())
            && !digits.starts_with('0')
    });
    anyhow::ensure!(is_e164, "--number: write it as +15551234567");
    let (messaging_profile_id, rate) = (options.messaging_profile_id, options.rate);
    let sender = Sender { church_id: options.church, number, messaging_profile_id, rate };
    match Store::new(&options.store)?.set_sender(&sender).await {
        Err(StoreError::Refused(_)) => anyhow::bail!("--number: another church sends from it"),
        outcome => outcome.context("can't record the sender")?,
    }
    writeln!(std::io::stdout(), "{} sends from its own number now", sender.church_id)?;
    Ok(ExitCode::SUCCESS)
}
