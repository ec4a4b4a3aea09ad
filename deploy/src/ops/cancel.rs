//! `ops cancel`: what has not left yet is not sent.

use std::fmt::{self, Display};
use std::process::ExitCode;

use anyhow::Context as _;
use common::event::timestamp;
use common::store::{CancelOrder, Cancelled, FoundMessage, Store};
use common::subject::ChurchId;
use serde::Serialize;
use time::OffsetDateTime;
use uuid::Uuid;

use super::database::DatabaseOptions;
use super::found::found;
use super::operator::Operator;
use super::output::{Output, counted};

#[derive(clap::Args)]
pub(super) struct Cancel {
    #[command(flatten)]
    database: DatabaseOptions,
    #[command(flatten)]
    operator: Operator,
    /// The message's id, or Telnyx's id of one of its texts
    id: String,
}

/// What cancelling came to.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Report {
    message_id: Uuid,
    church_id: ChurchId,
    /// Recipients who get no text.
    cancelled: i64,
    /// Recipients whose text had left, or was leaving.
    already_left: i64,
}

pub(super) async fn run(options: Cancel, output: Output) -> anyhow::Result<ExitCode> {
    let store = options.database.open().await?;
    output.report(&cancel(&store, &options.id, &options.operator).await?)?;
    Ok(ExitCode::SUCCESS)
}

/// Cancels a message.
pub(super) async fn cancel(store: &Store, id: &str, operator: &Operator) -> anyhow::Result<Report> {
    let FoundMessage { church_id, message_id, .. } = found(store, id).await?;
    let order = CancelOrder {
        church_id: &church_id,
        message_id,
        by: &operator.author()?,
        now: timestamp::millis(OffsetDateTime::now_utc()),
        trace_parent: None,
    };
    let cancelled = store.cancel(&order).await;
    let Cancelled { cancelled, left } =
        cancelled.context("it is unknown whether the message is cancelled; run the command again")?;
    Ok(Report { message_id, church_id, cancelled, already_left: left })
}

impl Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { message_id, church_id, cancelled, already_left } = self;
        let left = match already_left {
            0 => String::new(),
            left => format!("; the texts of {} had left", counted(*left, "recipient")),
        };
        match cancelled {
            0 => writeln!(out, "nothing was left to cancel of message {message_id} of {church_id}{left}"),
            cancelled => writeln!(
                out,
                "cancelled message {message_id} of {church_id}: no text for {}{left}",
                counted(*cancelled, "recipient")
            ),
        }
    }
}
