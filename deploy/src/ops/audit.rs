//! `ops audit`: checks the database's counters against its rows.

use std::fmt::{self, Display};
use std::process::ExitCode;

use anyhow::Context as _;
use common::store::{Audit, RefusedEvent};
use serde::Serialize;

use super::database::DatabaseOptions;
use super::output::Output;

/// Most refused events that are listed; the audit counts all.
const NAMED: u32 = 100;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    #[serde(flatten)]
    sums: Audit,
    /// The events that the stream refuses.
    refused: Vec<RefusedEvent>,
}

impl Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sums = serde_json::to_string_pretty(&self.sums).map_err(|_| fmt::Error)?;
        writeln!(out, "{sums}")?;
        for RefusedEvent { event_id, message_id, subject, reason } in &self.refused {
            writeln!(
                out,
                "the stream refuses event {event_id} of message {message_id} on {subject}: {reason}"
            )?;
        }
        if !self.sums.is_sound() {
            writeln!(out, "the audit found errors")?;
        }
        Ok(())
    }
}

pub(super) async fn run(options: &DatabaseOptions, output: Output) -> anyhow::Result<ExitCode> {
    let store = options.open().await?;
    let sums = store.audit().await.context("can't audit the database")?;
    let refused = store.refused_events(NAMED).await.context("can't read the refused events")?;
    let report = Report { sums, refused };
    output.report(&report)?;
    Ok(if report.sums.is_sound() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
