//! `ops pause` and `ops resume`.

use std::fmt::{self, Display};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::ValueEnum;
use common::event::timestamp;
use common::store::{Pause, Store};
use common::subject::ChurchId;
use serde::Serialize;
use time::OffsetDateTime;

use super::database::DatabaseOptions;
use super::found::unknown_church;
use super::operator::Operator;
use super::output::{Output, moment};

/// What can be paused.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum What {
    Sending,
}

#[derive(clap::Args)]
pub(super) struct PauseOptions {
    #[command(flatten)]
    database: DatabaseOptions,
    #[command(flatten)]
    operator: Operator,
    /// What to pause: sending through Telnyx. Webhooks and events go on
    what: What,
    /// Only of one church; by default of everybody
    #[arg(long)]
    church: Option<ChurchId>,
}

#[derive(clap::Args)]
pub(super) struct ResumeOptions {
    #[command(flatten)]
    database: DatabaseOptions,
    /// What to resume
    what: What,
    /// The pause of one church; by default that of everybody
    #[arg(long)]
    church: Option<ChurchId>,
}

/// The pauses in force.
#[derive(Serialize)]
#[serde(transparent)]
pub(super) struct Report(Vec<Told>);

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Told {
    /// None means everybody.
    church_id: Option<ChurchId>,
    by: String,
    #[serde(with = "timestamp")]
    since: OffsetDateTime,
}

/// `ops pause`.
pub(super) async fn pause(options: PauseOptions, output: Output) -> anyhow::Result<ExitCode> {
    let What::Sending = options.what;
    let store = options.database.open().await?;
    set(&store, options.church, &options.operator).await?;
    report(&store, output).await
}

/// Records the pause of a church that is known, or of everybody.
pub(super) async fn set(store: &Store, church_id: Option<ChurchId>, by: &Operator) -> anyhow::Result<()> {
    if let Some(church) = &church_id
        && let Some(says) = unknown_church(store, church).await?
    {
        bail!(says);
    }
    let since = timestamp::millis(OffsetDateTime::now_utc());
    let pause = Pause { church_id, by: by.author()?, since };
    store.pause(&pause).await.context("can't record the pause")
}

/// `ops resume`.
pub(super) async fn resume(options: ResumeOptions, output: Output) -> anyhow::Result<ExitCode> {
    let What::Sending = options.what;
    let store = options.database.open().await?;
    end(&store, options.church.as_ref()).await?;
    report(&store, output).await
}

/// Whose texts wait, who paused them, and since when.
pub(super) fn sentence(pause: &Pause) -> String {
    format!("sending of {} is paused by {} since {}", pause.whose(), pause.by, moment(pause.since))
}

/// Ends the pause of a church, or of everybody.
pub(super) async fn end(store: &Store, church: Option<&ChurchId>) -> anyhow::Result<()> {
    if !store.resume(church).await.context("can't end the pause")? {
        let whom = church.map_or("everybody", ChurchId::as_str);
        bail!("sending is not paused for {whom}; `ops doctor` lists the pauses");
    }
    Ok(())
}

async fn report(store: &Store, output: Output) -> anyhow::Result<ExitCode> {
    output.report(&read(store).await?)?;
    Ok(ExitCode::SUCCESS)
}

/// The pauses in force.
pub(super) async fn read(store: &Store) -> anyhow::Result<Report> {
    let pauses = store.pauses().await.context("can't read the pauses")?;
    let told = |Pause { church_id, by, since }| Told { church_id, by, since };
    Ok(Report(pauses.into_iter().map(told).collect()))
}

impl Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return writeln!(out, "nothing is paused");
        }
        self.0.iter().try_for_each(|pause| {
            let whom = pause.church_id.as_ref().map_or("everybody", ChurchId::as_str);
            writeln!(out, "sending is paused for {whom} by {} since {}", pause.by, moment(pause.since))
        })
    }
}
