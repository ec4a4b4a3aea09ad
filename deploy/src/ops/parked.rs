//! `ops parked`: webhooks whose recipient is not known.

use std::fmt::{self, Display};
use std::process::ExitCode;

use anyhow::Context as _;
use common::store::{KeptQuery, Outcome};
use serde::Serialize;

use super::database::DatabaseOptions;
use super::kept::Kept;
use super::output::{Listed, Output};

#[derive(clap::Args)]
pub(super) struct Parked {
    #[command(flatten)]
    database: DatabaseOptions,
    /// Most webhooks to list
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
}

#[derive(Serialize)]
#[serde(transparent)]
struct Report(Listed<Kept>);

impl Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.0.rows.is_empty() {
            writeln!(out, "webhooks whose recipient is not known; each is tried again every few seconds:")?;
        }
        self.0.table(out, "no webhook is parked", Kept::row)
    }
}

/// Exit code 1 if any webhook is parked.
pub(super) async fn run(options: Parked, output: Output) -> anyhow::Result<ExitCode> {
    let query = KeptQuery { outcome: Some(Outcome::Parked), limit: options.limit, ..KeptQuery::default() };
    let parked = options.database.open().await?.kept_webhooks(&query).await;
    let parked = parked.context("can't list the parked webhooks")?;
    let report = Report(Listed::new(parked.into_iter().map(Kept::from).collect(), options.limit));
    output.report(&report)?;
    Ok(if report.0.rows.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
