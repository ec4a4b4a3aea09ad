//! `ops cancel`: what has not left yet is not sent.

use std::process::ExitCode;

use anyhow::Context as _;
use common::event::timestamp;
use common::store::{CancelOrder, Store};
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
    output.say(cancel(&store, &options.id, &options.operator).await?)?;
    Ok(ExitCode::SUCCESS)
}

/// Cancels a message. Says what that came to.
pub(super) async fn cancel(store: &Store, id: &str, operator: &Operator) -> anyhow::Result<String> {
    let message = found(store, id).await?;
    let order = CancelOrder {
        church_id: &message.church_id,
        message_id: message.message_id,
        by: &operator.author()?,
        now: timestamp::millis(OffsetDateTime::now_utc()),
        trace_parent: None,
    };
    let cancelled = store.cancel(&order).await;
    let cancelled =
        cancelled.context("it is unknown whether the message is cancelled; run the command again")?;
    Ok(format!(
        "cancelled message {} of {}: {} recipients get no text, the texts of {} had left",
        message.message_id, message.church_id, cancelled.cancelled, cancelled.left
    ))
}
