//! `ops retry`: a new message to those whom the first one did not reach for a passing reason.

use std::process::ExitCode;

use anyhow::{Context as _, bail};
use common::event::timestamp;
use common::store::{NewRetry, Retried, Store};
use common::subject::ChurchId;
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

pub(super) async fn run(options: Retry, output: Output) -> anyhow::Result<ExitCode> {
    let store = options.database.open().await?;
    let again = Again {
        id: &options.id,
        include_unresolved: options.include_unresolved,
        operator: &options.operator,
        default_sender: &options.default_sender,
    };
    output.say(retry(&store, &again).await?)?;
    Ok(ExitCode::SUCCESS)
}

/// Sends a message again. Says what that came to.
pub(super) async fn retry(store: &Store, again: &Again<'_>) -> anyhow::Result<String> {
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
    match retried.context("it is unknown whether the message is retried; run the command again")? {
        Retried::New(message) => Ok(format!(
            "message {} goes to {} of {}",
            message.id,
            counted(message.tally.recipients.into(), "recipient"),
            original.message_id
        )),
        Retried::Repeated(message) => {
            Ok(format!("{} was retried before, as {}", original.message_id, message.id))
        }
        Retried::Nothing => bail!("nobody is left who failed for a reason that passes with time"),
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
