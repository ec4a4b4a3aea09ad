//! `ops restored`: makes a database that was restored from a backup safe to run.

use std::fmt::{self, Display};
use std::process::ExitCode;

use anyhow::{Context as _, ensure};
use common::event::timestamp;
use common::store::{Restored, Store};
use serde::Serialize;
use time::OffsetDateTime;

use super::database::DatabaseOptions;
use super::operator::Operator;
use super::output::Output;
use super::{pauses, times};

#[derive(clap::Args)]
pub(super) struct RestoredOptions {
    #[command(flatten)]
    database: DatabaseOptions,
    #[command(flatten)]
    operator: Operator,
    /// When the services last sent a text, as a time or how long ago; by default now
    #[arg(long, value_name = "TIME", value_parser = times::since)]
    sent_until: Option<OffsetDateTime>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    messages: u64,
    doubtful: u64,
    unresolved: u64,
}

impl Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { messages, doubtful, unresolved } = self;
        writeln!(out, "sending is paused for everybody; `ops resume sending` ends that")?;
        writeln!(out, "raised the version of {messages} messages above what browsers may hold")?;
        writeln!(
            out,
            "closed {unresolved} recipients as unresolved: {doubtful} that were due and may have been sent a text \
             after the backup, and those whose attempt had no answer"
        )
    }
}

pub(super) async fn run(options: RestoredOptions, output: Output) -> anyhow::Result<ExitCode> {
    // Before anything is changed.
    options.operator.author()?;
    let store = options.database.open().await?;
    // A backup of an older version lacks what this one needs.
    store.migrate().await.context("can't bring the schema up to date")?;
    ensure_stopped(&store).await?;
    let now = timestamp::millis(OffsetDateTime::now_utc());
    pauses::set(&store, None, &options.operator).await?;
    let settled = store.settle_restored(options.sent_until.unwrap_or(now)).await;
    let Restored { messages, doubtful, unresolved } =
        settled.context("can't settle everything; run the command again")?;
    output.report(&Report { messages, doubtful, unresolved })?;
    Ok(ExitCode::SUCCESS)
}

/// Fails while a service uses the database.
pub(super) async fn ensure_stopped(store: &Store) -> anyhow::Result<()> {
    let state = store.outbox_state().await.context("can't read the database")?;
    ensure!(!state.led, "a process relays the outbox; stop webhook-ingest and message-api, wait 10 s");
    Ok(())
}
