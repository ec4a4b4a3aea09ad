//! `ops retry`: a new message to those whom the first one did not reach for a passing reason.

use std::fmt::{self, Display};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use common::event::timestamp;
use common::store::{NewRetry, Retried, Store};
use common::subject::ChurchId;
use serde::Serialize;
use time::OffsetDateTime;
use uuid::Uuid;

use super::database::DatabaseOptions;
use super::found::found;
use super::operator::Operator;
use super::output::{Output, counted};
use super::sender::e164;

#[derive(clap::Args)]
pub(super) struct Retry {
    #[command(flatten)]
    database: DatabaseOptions,
    #[command(flatten)]
    operator: Operator,
    /// The message's id, or Telnyx's id of one of its texts
    id: String,
    /// Also those of whom it is unknown whether the text reached them; they may get it twice
    #[arg(long)]
    include_unresolved: bool,
    #[command(flatten)]
    default_sender: DefaultSender,
}

/// What churches without a sender of their own send as.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct DefaultSender {
    /// Number of churches without a sender of their own, as message-api has it
    #[arg(long, env = "TELNYX_FROM", value_name = "NUMBER", value_parser = e164)]
    pub(super) telnyx_from: Option<String>,
    /// Messaging profile of that number
    #[arg(long, env = "TELNYX_MESSAGING_PROFILE_ID", value_name = "ID")]
    pub(super) telnyx_messaging_profile_id: Option<String>,
}

/// Which message is sent again, and how.
pub(super) struct Again<'a> {
    pub(super) id: &'a str,
    pub(super) include_unresolved: bool,
    pub(super) operator: &'a Operator,
    pub(super) default_sender: &'a DefaultSender,
}

/// What retrying came to.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Report {
    /// The new message.
    message_id: Uuid,
    retry_of: Uuid,
    recipients: i32,
    /// The message was retried before; that retry is told.
    repeated: bool,
}

pub(super) async fn run(options: Retry, output: Output) -> anyhow::Result<ExitCode> {
    let store = options.database.open().await?;
    let again = Again {
        id: &options.id,
        include_unresolved: options.include_unresolved,
        operator: &options.operator,
        default_sender: &options.default_sender,
    };
    output.report(&retry(&store, &again).await?)?;
    Ok(ExitCode::SUCCESS)
}

/// Sends a message again.
pub(super) async fn retry(store: &Store, again: &Again<'_>) -> anyhow::Result<Report> {
    let original = found(store, again.id).await?;
    let (from_number, messaging_profile_id) =
        sender(store, again.default_sender, &original.church_id).await?;
    let retry = NewRetry {
        id: Uuid::now_v7(),
        church_id: original.church_id,
        retry_of: original.message_id,
        author_id: again.operator.author()?,
        from_number,
        messaging_profile_id,
        include_unresolved: again.include_unresolved,
        created_at: timestamp::millis(OffsetDateTime::now_utc()),
        trace_parent: None,
    };
    let retried = store.retry(&retry).await;
    let (message, repeated) =
        match retried.context("it is unknown whether the message is retried; run the command again")? {
            Retried::New(message) => (message, false),
            Retried::Repeated(message) => (message, true),
            Retried::Nothing => bail!("nobody is left who failed for a reason that passes with time"),
        };
    Ok(Report {
        message_id: message.id,
        retry_of: original.message_id,
        recipients: message.tally.recipients,
        repeated,
    })
}

impl Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { message_id, retry_of, recipients, repeated } = self;
        if *repeated {
            return writeln!(out, "{retry_of} was retried before, as {message_id}");
        }
        let recipients = counted((*recipients).into(), "recipient");
        writeln!(out, "message {message_id} goes to {recipients} of {retry_of}")
    }
}

/// The church's own number and profile, else those of all churches.
async fn sender(
    store: &Store,
    default: &DefaultSender,
    church: &ChurchId,
) -> anyhow::Result<(Option<String>, Option<String>)> {
    if let Some(own) = store.sender(church).await.context("can't read the church's sender")? {
        return Ok((Some(own.number), own.messaging_profile_id));
    }
    let (number, profile) = (&default.telnyx_from, &default.telnyx_messaging_profile_id);
    if number.is_none() && profile.is_none() {
        bail!(
            "the church {church} has no number to send from; set TELNYX_FROM, or give it one by `ops sender`"
        );
    }
    Ok((number.clone(), profile.clone()))
}
