//! `ops cancel`: what has not left yet is not sent.

use std::process::ExitCode;

use anyhow::Context as _;
use common::event::timestamp;
use time::OffsetDateTime;

use super::database::DatabaseOptions;
use super::found::found;
use super::operator::Operator;
use super::output::Output;

#[derive(clap::Args)]
pub(super) struct Cancel {
    #[command(flatten)]
    database: DatabaseOptions,
    #[command(flatten)]
    operator: Operator,
    /// The message's id, or Telnyx's id of one of its texts
    id: String,
}

pub(super) async fn run(options: Cancel, output: Output) -> anyhow::Result<ExitCode> {
    let store = options.database.open().await?;
    let message = found(&store, &options.id).await?;
    let now = timestamp::millis(OffsetDateTime::now_utc());
    let cancelled =
        store.cancel(&message.church_id, message.message_id, &options.operator.author(), now).await;
    let cancelled =
        cancelled.context("it is unknown whether the message is cancelled; run the command again")?;
    output.say(format!(
        "cancelled message {} of {}: {} recipients get no text, the texts of {} had left",
        message.message_id, message.church_id, cancelled.cancelled, cancelled.left
    ))?;
    Ok(ExitCode::SUCCESS)
}
