//! `ops sender`: the number that a church sends from.

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::Context as _;
use common::store::{Sender, StoreError, StoreOptions};
use common::subject::ChurchId;

use super::database::open;

#[derive(clap::Args)]
pub(super) struct SetSender {
    #[command(flatten)]
    store: StoreOptions,
    /// The church
    #[arg(long)]
    church: ChurchId,
    /// The number in E.164; each church has its own
    #[arg(long, value_parser = e164)]
    number: String,
    /// The church's messaging profile; use one for each church, because an opt-out blocks a whole profile
    #[arg(long, value_name = "ID")]
    messaging_profile_id: Option<String>,
    /// Most messages per second from this number, as its carriers allow; by default only SEND_RATE limits it
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rate: Option<u32>,
}

/// Parses a number in E.164.
pub(super) fn e164(text: &str) -> Result<String, String> {
    let is_e164 = text.strip_prefix('+').is_some_and(|digits| {
        (8..=15).contains(&digits.len())
            && digits.bytes().all(|b| b.is_ascii_digit())
            && !digits.starts_with('0')
    });
    if is_e164 { Ok(text.to_owned()) } else { Err("write it as +15551234567".into()) }
}

pub(super) async fn run(options: SetSender) -> anyhow::Result<ExitCode> {
    let sender = Sender {
        church_id: options.church,
        number: options.number,
        messaging_profile_id: options.messaging_profile_id,
        rate: options.rate,
    };
    match open(&options.store).await?.set_sender(&sender).await {
        Err(StoreError::Refused(_)) => anyhow::bail!("--number: another church sends from this number"),
        outcome => outcome.context("can't record the sender")?,
    }
    writeln!(std::io::stdout(), "{} now sends from its own number", sender.church_id)?;
    Ok(ExitCode::SUCCESS)
}
