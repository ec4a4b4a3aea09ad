//! `ops webhooks`: webhooks that came, by what became of them, newest first.

use std::fmt::{self, Display};
use std::process::ExitCode;

use anyhow::Context as _;
use common::store::{Outcome, Store, WebhookQuery};
use serde::Serialize;
use time::OffsetDateTime;

use super::database::DatabaseOptions;
use super::kept::Kept;
use super::output::{Output, table};
use super::times::since;

#[derive(clap::Args)]
pub(super) struct ListWebhooks {
    #[command(flatten)]
    database: DatabaseOptions,
    /// Only those with this outcome: applied, duplicate, stale, parked, received, ignored
    #[arg(long, value_name = "OUTCOME", value_parser = outcome)]
    outcome: Option<Outcome>,
    /// Webhooks received since a time, as 2026-11-22T20:15:00Z, or since so long ago: 90s, 15m, 6h, 3d
    #[arg(long, value_name = "TIME", value_parser = since, default_value = "24h")]
    since: OffsetDateTime,
    /// Most webhooks to list
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: u32,
}

/// Reads an outcome.
pub(super) fn outcome(text: &str) -> Result<Outcome, String> {
    text.parse().map_err(|_| "write applied, duplicate, stale, parked, received or ignored".into())
}

#[derive(Serialize)]
#[serde(transparent)]
pub(super) struct Report(Vec<Kept>);

pub(super) async fn run(options: ListWebhooks, output: Output) -> anyhow::Result<ExitCode> {
    let query =
        WebhookQuery { outcome: options.outcome, since: options.since, before: None, limit: options.limit };
    output.report(&read(&options.database.open().await?, &query).await?)?;
    Ok(ExitCode::SUCCESS)
}

/// Lists webhooks.
pub(super) async fn read(store: &Store, query: &WebhookQuery) -> anyhow::Result<Report> {
    let webhooks = store.webhooks(query).await.context("can't list the webhooks")?;
    Ok(Report(webhooks.into_iter().map(Kept::from).collect()))
}

impl Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return writeln!(out, "no such webhook came");
        }
        table(out, &self.0.iter().map(Kept::row_with_outcome).collect::<Vec<_>>())
    }
}
