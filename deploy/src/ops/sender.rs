//! `ops sender`: the number that a church sends from.

use std::fmt::{self, Display};
use std::process::ExitCode;

use anyhow::{Context as _, bail, ensure};
use clap::builder::NonEmptyStringValueParser;
use common::config::ConfigError;
use common::phone::is_e164;
use common::store::{Sender, Store};
use common::subject::ChurchId;
use serde::Serialize;

use super::database::DatabaseOptions;
use super::found::unknown_church;
use super::output::Output;

#[derive(clap::Args)]
pub(super) struct SetSender {
    #[command(flatten)]
    database: DatabaseOptions,
    /// The church
    #[arg(long)]
    church: ChurchId,
    /// The number in E.164; each church has its own. Needed the first time
    #[arg(long, value_parser = e164)]
    number: Option<String>,
    /// The church's messaging profile; use one for each church, because an opt-out blocks a whole profile
    #[arg(long, value_name = "ID", value_parser = NonEmptyStringValueParser::new())]
    messaging_profile_id: Option<String>,
    /// Send without a messaging profile of its own
    #[arg(long, conflicts_with = "messaging_profile_id")]
    no_messaging_profile_id: bool,
    /// Most messages per second from this number, as its carriers allow; by default only SEND_RATE limits it
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rate: Option<u32>,
    /// Limit it by SEND_RATE alone
    #[arg(long, conflicts_with = "rate")]
    no_rate: bool,
    /// Make the church send as all others do
    #[arg(long, conflicts_with_all = ["number", "messaging_profile_id", "no_messaging_profile_id", "rate", "no_rate"])]
    remove: bool,
}

/// What a church sends as now.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    church_id: ChurchId,
    number: Option<String>,
    messaging_profile_id: Option<String>,
    rate: Option<u32>,
    /// What may be a mistake.
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
}

/// Reads a number in E.164, also as people write it: `+1 (555) 123-4567`.
pub(super) fn e164(text: &str) -> Result<String, String> {
    let number: String = text.chars().filter(|character| !" ()-.".contains(*character)).collect();
    if is_e164(&number) { Ok(number) } else { Err("write it with its country code, as +15551234567".into()) }
}

pub(super) async fn run(options: SetSender, output: Output) -> anyhow::Result<ExitCode> {
    let store = options.database.open().await?;
    let note = unknown_church(&store, &options.church).await?;
    let sender = if options.remove {
        remove(&store, &options.church).await?;
        None
    } else {
        Some(set(&store, &options).await?)
    };
    output.report(&Report {
        church_id: options.church,
        number: sender.as_ref().map(|sender| sender.number.clone()),
        rate: sender.as_ref().and_then(|sender| sender.rate),
        messaging_profile_id: sender.and_then(|sender| sender.messaging_profile_id),
        note,
    })?;
    Ok(ExitCode::SUCCESS)
}

async fn remove(store: &Store, church: &ChurchId) -> anyhow::Result<()> {
    let removed = store.remove_sender(church).await.context("can't remove the sender")?;
    ensure!(removed, "the church {church} has no number of its own");
    Ok(())
}

/// Changes what the command line names, and keeps the rest.
async fn set(store: &Store, options: &SetSender) -> anyhow::Result<Sender> {
    let before = store.sender(&options.church).await.context("can't read the church's sender")?;
    let (number, profile, rate) = before
        .map(|sender| (Some(sender.number), sender.messaging_profile_id, sender.rate))
        .unwrap_or_default();
    let Some(number) = options.number.clone().or(number) else {
        return Err(ConfigError::new("--number", "is needed: the church has no number of its own yet").into());
    };
    let sender = Sender {
        church_id: options.church.clone(),
        number,
        messaging_profile_id: options
            .messaging_profile_id
            .clone()
            .or(profile.filter(|_| !options.no_messaging_profile_id)),
        rate: options.rate.or(rate.filter(|_| !options.no_rate)),
    };
    if let Some(owner) = store.set_sender(&sender).await.context("can't record the sender")? {
        bail!("--number: the church {owner} sends from this number");
    }
    Ok(sender)
}

impl Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let church = &self.church_id;
        match (&self.number, &self.messaging_profile_id, self.rate) {
            (None, ..) => writeln!(out, "{church} sends as all churches without a number of their own")?,
            (Some(number), profile, rate) => {
                let profile = profile.as_deref().unwrap_or("none of its own");
                let rate =
                    rate.map_or("as SEND_RATE allows".into(), |rate| format!("at most {rate} a second"));
                writeln!(out, "{church} sends from {number}, messaging profile {profile}, {rate}")?;
            }
        }
        self.note.iter().try_for_each(|note| writeln!(out, "note: {note}"))
    }
}
