//! `ops sender`: the number that a church sends from.

use std::process::ExitCode;

use anyhow::Context as _;
use common::phone::is_e164;
use common::store::Sender;
use common::subject::ChurchId;

use super::database::DatabaseOptions;
use super::output::Output;

#[derive(clap::Args)]
pub(super) struct SetSender {
    #[command(flatten)]
    database: DatabaseOptions,
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
    if is_e164(text) { Ok(text.to_owned()) } else { Err("write it as +15551234567".into()) }
}

pub(super) async fn run(options: SetSender, output: Output) -> anyhow::Result<ExitCode> {
    let sender = Sender {
        church_id: options.church,
        number: options.number,
        messaging_profile_id: options.messaging_profile_id,
        rate: options.rate,
    };
    let set = options.database.open().await?.set_sender(&sender).await;
    if let Some(owner) = set.context("can't record the sender")? {
        anyhow::bail!("--number: the church {owner} sends from this number");
    }
    output.say(format!("{} now sends from its own number", sender.church_id))?;
    Ok(ExitCode::SUCCESS)
}
