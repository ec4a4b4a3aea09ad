//! `stack trigger`.

use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use serde_json::Value;

use super::arguments::{StateFolder, default_state};
use super::demo;
use super::stack_file::StackFile;
use crate::client::token;
use crate::programs::services;
use crate::simulator::{InboundDelivery, InboundText, Outcome};

#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(super) struct Trigger {
    #[command(subcommand)]
    reply: Option<Action>,
    #[command(flatten)]
    end: Option<End>,
}

#[derive(clap::Subcommand)]
enum Action {
    /// Make somebody send a text to a church's number
    Reply(Reply),
}

// Nothing is flattened in it: clap would take the whole for absent even where its arguments are given.
#[derive(clap::Args)]
struct End {
    /// The outcome of the message
    outcome: Outcome,
    /// The message's id at message-api, a recipient's id, or Telnyx's id of the message
    message: uuid::Uuid,
    /// The message's church
    #[arg(long, value_name = "ID", default_value = demo::CHURCH)]
    church: String,
    /// Folder with the stack's data, secrets and logs
    #[arg(long, default_value_os_t = default_state(), value_name = "DIR")]
    state: PathBuf,
}

#[derive(clap::Args)]
struct Reply {
    /// Who sends the text
    #[arg(long, value_name = "NUMBER", default_value = "+12025550101")]
    from: String,
    /// The number that it is sent to; the default one is that of the church grace
    #[arg(long, value_name = "NUMBER", default_value = services::FROM)]
    to: String,
    /// The text; STOP, START and HELP have their meaning
    #[arg(long, default_value = "")]
    text: String,
    /// URL of a picture; may be given several times
    #[arg(long, value_name = "URL")]
    media: Vec<String>,
    #[command(flatten)]
    folder: StateFolder,
}

pub(super) async fn run(options: Trigger) -> anyhow::Result<()> {
    let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(20)).build()?;
    match (options.reply, options.end) {
        (Some(Action::Reply(reply)), _) => receive(&http, reply).await,
        (None, Some(end)) => finish(&http, end).await,
        (None, None) => anyhow::bail!("give an outcome and a message, or `reply`"),
    }
}

/// Makes the simulator send the webhook of a text.
async fn receive(http: &reqwest::Client, options: Reply) -> anyhow::Result<()> {
    let file = StackFile::read(&options.folder.state)?;
    let text = InboundText {
        from: options.from,
        to: options.to,
        text: options.text,
        media: options.media,
        webhook_url: format!("{}/webhooks/telnyx", file.ingest),
        copies: 1,
    };
    let request = http.post(format!("{}/simulator/inbound", file.telnyx)).json(&text);
    let answer = request.send().await.context("the simulator does not answer")?.error_for_status()?;
    let delivery: InboundDelivery = answer.json().await?;
    match delivery.answers.as_slice() {
        [Some(200)] => writeln!(std::io::stdout(), "sent the text; webhook-ingest has recorded its webhook")?,
        answers => anyhow::bail!("webhook-ingest did not take the webhook: {answers:?}"),
    }
    Ok(())
}

/// Makes the simulator end a message.
async fn finish(http: &reqwest::Client, options: End) -> anyhow::Result<()> {
    let file = StackFile::read(&options.state)?;
    let outcome = serde_json::to_value(options.outcome)?;
    let simulator = format!("{}/simulator/messages", file.telnyx);
    let end = async |id: &str| -> anyhow::Result<bool> {
        let url = format!("{simulator}/{id}/{}", outcome.as_str().unwrap_or_default());
        Ok(http.post(url).send().await.context("the simulator does not answer")?.status().is_success())
    };
    let mut ended = usize::from(end(&options.message.to_string()).await?);
    if ended == 0 {
        let token = token::mint(&file.jwt_secret, &options.church, demo::USER, Duration::from_secs(60))?;
        for recipient in recipients(http, &file, &token, options.message).await? {
            ended += usize::from(end(&recipient).await?);
        }
    }
    anyhow::ensure!(
        ended > 0,
        "the simulator has no such message; it was not sent yet, or is older than the simulator remembers"
    );
    writeln!(std::io::stdout(), "ended the message for {ended} recipient(s)")?;
    Ok(())
}

/// The ids of a message's recipients, from message-api.
async fn recipients(
    http: &reqwest::Client,
    file: &StackFile,
    token: &str,
    message: uuid::Uuid,
) -> anyhow::Result<Vec<String>> {
    let request = http.get(format!("{}/api/messages/{message}/recipients", file.api)).bearer_auth(token);
    let answer = request.send().await.context("message-api does not answer")?;
    anyhow::ensure!(
        answer.status().is_success(),
        "message-api has no such message of this church ({}); give its church with --church",
        answer.status()
    );
    let body: Value = answer.json().await?;
    let recipients = body["data"].as_array().cloned().unwrap_or_default();
    Ok(recipients.iter().filter_map(|recipient| Some(recipient["id"].as_str()?.to_owned())).collect())
}
