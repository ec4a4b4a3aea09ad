//! `ops stuck`: messages with recipients that wait for longer than they should.

use std::fmt::{self, Display};
use std::process::ExitCode;

use anyhow::Context as _;
use common::event::timestamp;
use common::store::{self, Store, StuckQuery, Waiting};
use common::subject::ChurchId;
use serde::Serialize;
use time::OffsetDateTime;
use uuid::Uuid;

use super::database::DatabaseOptions;
use super::output::{Output, counted, moment, table};
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
    #[arg(long, value_name = "WHAT", value_parser = waiting)]
    waiting: Option<Waiting>,
    /// Most messages to list
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: u32,
}

/// Reads what recipients wait for: `unsent`, `unanswered`, `unconfirmed`.
pub(super) fn waiting(text: &str) -> Result<Waiting, String> {
    text.parse().map_err(|_| "write unsent, unanswered or unconfirmed".into())
}

#[derive(Serialize)]
#[serde(transparent)]
pub(super) struct Report(Vec<Stuck>);

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Stuck {
    #[serde(with = "timestamp")]
    since: OffsetDateTime,
    church_id: ChurchId,
    message_id: Uuid,
    waiting: &'static str,
    recipients: i64,
}

/// Exit code 1 if any message is stuck.
pub(super) async fn run(options: FindStuck, output: Output) -> anyhow::Result<ExitCode> {
    let FindStuck { database, before, church, waiting, limit } = options;
    let query = StuckQuery { before, waiting, church, limit };
    let report = read(&database.open().await?, &query).await?;
    output.report(&report)?;
    Ok(if report.0.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Looks for stuck messages.
pub(super) async fn read(store: &Store, query: &StuckQuery) -> anyhow::Result<Report> {
    let stuck = store.stuck(query).await.context("can't look for stuck messages")?;
    Ok(Report(stuck.into_iter().map(Stuck::from).collect()))
}

impl From<store::Stuck> for Stuck {
    fn from(store::Stuck { church_id, message_id, waiting, recipients, since }: store::Stuck) -> Self {
        Self { since, church_id, message_id, waiting: waiting.into(), recipients }
    }
}

impl Stuck {
    fn row(&self) -> [String; 4] {
        let message = format!("message {}", self.message_id);
        let waits = format!("{} {}", counted(self.recipients, "recipient"), self.waiting);
        [format!("since {}", moment(self.since)), self.church_id.to_string(), message, waits]
    }
}

impl Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return writeln!(out, "no message is stuck");
        }
        table(out, &self.0.iter().map(Stuck::row).collect::<Vec<_>>())
    }
}
