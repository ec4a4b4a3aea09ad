//! `stack trigger`.

use std::io::Write as _;
use std::time::Duration;

use anyhow::Context as _;
use serde_json::Value;

use super::arguments::StateFolder;
use super::demo;
use super::stack_file::StackFile;
use crate::client::token;
use crate::simulator::Outcome;

#[derive(clap::Args)]
pub(super) struct Trigger {
    /// The outcome of the message
    outcome: Outcome,
    /// The message's id at message-api, a recipient's id, or Telnyx's id of the message
    message: uuid::Uuid,
    /// The message's church
    #[arg(long, value_name = "ID", default_value = demo::CHURCH)]
    church: String,
    #[command(flatten)]
    folder: StateFolder,
}

pub(super) async fn run(options: Trigger) -> anyhow::Result<()> {
    let file = StackFile::read(&options.folder.state)?;
    let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(5)).build()?;
    let outcome = serde_json::to_value(options.outcome)?;
    let simulator = format!("{}/simulator/messages", file.telnyx);
    let end = async |id: &str| -> anyhow::Result<bool> {
        let url = format!("{simulator}/{id}/{}", outcome.as_str().unwrap_or_default());
        Ok(http.post(url).send().await.context("the simulator does not answer")?.status().is_success())
    };
    let mut ended = usize::from(end(&options.message.to_string()).await?);
    if ended == 0 {
        let token = token::mint(&file.jwt_secret, &options.church, demo::USER, Duration::from_secs(60))?;
        for recipient in recipients(&http, &file, &token, options.message).await? {
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
