//! `ops stuck`: messages with recipients that wait for longer than they should.

use std::fmt::{self, Display};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use common::event::timestamp;
use common::store::{self, Pause, Store, StuckQuery, Waiting};
use common::subject::ChurchId;
use serde::Serialize;
use time::OffsetDateTime;
use uuid::Uuid;

use super::database::DatabaseOptions;
use super::found::unknown_church;
use super::names::one_of;
use super::output::{Listed, Output, counted, moment};
use super::times::since;

#[derive(clap::Args)]
pub(super) struct FindStuck {
    #[command(flatten)]
    database: DatabaseOptions,
    /// How long they have waited: 90s, 15m, 6h, 3d
    #[arg(long = "for", id = "for", value_name = "TIME", value_parser = since, default_value = "10m")]
    before: OffsetDateTime,
    /// Only of this church
    #[arg(long)]
    church: Option<ChurchId>,
    /// What they wait for
    #[arg(long, value_name = "WHAT", value_parser = one_of::<Waiting>())]
    waiting: Option<Waiting>,
    /// Most messages to list
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
}

#[derive(Serialize)]
#[serde(transparent)]
pub(super) struct Report(Listed<Stuck>);

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Stuck {
    #[serde(with = "timestamp")]
    since: OffsetDateTime,
    church_id: ChurchId,
    message_id: Uuid,
    waiting: &'static str,
    recipients: i64,
    /// Who paused sending, if that is what they wait for.
    paused_by: Option<String>,
}

/// Exit code 1 if any message is stuck.
pub(super) async fn run(options: FindStuck, output: Output) -> anyhow::Result<ExitCode> {
    let FindStuck { database, before, church, waiting, limit } = options;
    let query = StuckQuery { before, waiting, church, limit };
    let report = read(&database.open().await?, &query).await?;
    output.report(&report)?;
    Ok(if report.0.rows.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Looks for stuck messages.
pub(super) async fn read(store: &Store, query: &StuckQuery) -> anyhow::Result<Report> {
    let stuck = store.stuck(query).await.context("can't look for stuck messages")?;
    if let Some(church) = &query.church
        && stuck.is_empty()
        && let Some(says) = unknown_church(store, church).await?
    {
        bail!(says);
    }
    let pauses = store.pauses().await.context("can't read the pauses")?;
    let rows = stuck.into_iter().map(|stuck| Stuck::new(stuck, &pauses)).collect();
    Ok(Report(Listed::new(rows, query.limit)))
}

impl Stuck {
    fn new(stuck: store::Stuck, pauses: &[Pause]) -> Self {
        let store::Stuck { church_id, message_id, waiting, recipients, since } = stuck;
        let pause = Pause::of(pauses, &church_id).filter(|_| waiting == Waiting::Unsent);
        let paused_by = pause.map(|pause| pause.by.clone());
        Self { since, church_id, message_id, waiting: waiting.into(), recipients, paused_by }
    }

    fn row(&self) -> [String; 4] {
        let message = format!("message {}", self.message_id);
        let paused = self.paused_by.as_ref().map(|by| format!(": paused by {by}")).unwrap_or_default();
        let waits = format!("{} {}{paused}", counted(self.recipients, "recipient"), self.waiting);
        [format!("since {}", moment(self.since)), self.church_id.to_string(), message, waits]
    }
}

impl Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.table(out, "no message is stuck", Stuck::row)
    }
}
