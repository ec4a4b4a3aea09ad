//! `ops webhooks`: webhooks that came, by what became of them, newest first.

use std::fmt::{self, Display};
use std::process::ExitCode;

use anyhow::Context as _;
use common::store::{Outcome, Store, WebhookQuery};
use serde::Serialize;
use time::OffsetDateTime;

use super::database::DatabaseOptions;
use super::kept::Kept;
use super::names::one_of;
use super::output::{Listed, Output};
use super::times::since;

#[derive(clap::Args)]
pub(super) struct ListWebhooks {
    #[command(flatten)]
    database: DatabaseOptions,
    /// Only those with this outcome
    #[arg(long, value_name = "OUTCOME", value_parser = one_of::<Outcome>())]
    outcome: Option<Outcome>,
    /// Webhooks received since a time, as 2026-11-22T20:15:00Z, or since so long ago: 90s, 15m, 6h, 3d
    #[arg(long, value_name = "TIME", value_parser = since, default_value = "24h")]
    since: OffsetDateTime,
    /// Most webhooks to list
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
}

#[derive(Serialize)]
#[serde(transparent)]
pub(super) struct Report(Listed<Kept>);

pub(super) async fn run(options: ListWebhooks, output: Output) -> anyhow::Result<ExitCode> {
    let query =
        WebhookQuery { outcome: options.outcome, since: options.since, before: None, limit: options.limit };
    output.report(&read(&options.database.open().await?, &query).await?)?;
    Ok(ExitCode::SUCCESS)
}

/// Lists webhooks.
pub(super) async fn read(store: &Store, query: &WebhookQuery) -> anyhow::Result<Report> {
    let webhooks = store.webhooks(query).await.context("can't list the webhooks")?;
    Ok(Report(Listed::new(webhooks.into_iter().map(Kept::from).collect(), query.limit)))
}

impl Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.table(out, "no such webhook came", Kept::row_with_outcome)
    }
}
