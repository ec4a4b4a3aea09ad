//! `ops audit`.

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::Context as _;
use common::store::{Store, StoreOptions};

/// Refused events that are named at most; the sum counts all.
const NAMED: u32 = 100;

pub(super) async fn run(options: &StoreOptions) -> anyhow::Result<ExitCode> {
    let store = Store::new(options)?;
    let audit = store.audit().await.context("can't read the books")?;
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
    writeln!(out, "the books do not add up")?;
    Ok(ExitCode::FAILURE)
}
