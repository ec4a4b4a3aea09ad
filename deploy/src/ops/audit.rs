//! `ops audit`: checks the database's counters against its rows.

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::Context as _;
use common::store::StoreOptions;

use super::database::open;

/// Most refused events that are listed; the audit counts all.
const NAMED: u32 = 100;

pub(super) async fn run(options: &StoreOptions) -> anyhow::Result<ExitCode> {
    let store = open(options).await?;
    let audit = store.audit().await.context("can't audit the database")?;
    let mut out = std::io::stdout();
    writeln!(out, "{}", serde_json::to_string_pretty(&audit)?)?;
    if audit.is_sound() {
        return Ok(ExitCode::SUCCESS);
    }
    for event in store.refused_events(NAMED).await.context("can't read the refused events")? {
        writeln!(
            out,
            "the stream refuses event {} of message {} on {}: {}",
            event.event_id, event.message_id, event.subject, event.reason
        )?;
    }
    writeln!(out, "the audit found errors")?;
    Ok(ExitCode::FAILURE)
}
