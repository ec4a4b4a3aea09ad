//! `ops reprocess`: kept webhooks that changed nothing, once more, after a fault was mended.

use std::fmt::{self, Display};
use std::process::ExitCode;

use anyhow::Context as _;
use common::store::{KeptBody, KeptQuery, Reprocessed, Store, Webhook};
use serde::Serialize;
use time::OffsetDateTime;
use webhook_ingest::parse;
use webhook_ingest::settings::{DefaultNumber, DefaultNumberOptions};
use webhook_ingest::signature::VerifiedBody;

use super::database::DatabaseOptions;
use super::output::{Output, table};
use super::times::since;

/// Webhooks in one transaction. Few, because other commits wait for it.
const PAGE: u32 = 100;

#[derive(clap::Args)]
#[command(group = clap::ArgGroup::new("which").required(true).multiple(true).args(["events", "reason", "since"]))]
pub(super) struct Reprocess {
    #[command(flatten)]
    database: DatabaseOptions,
    #[command(flatten)]
    default_number: DefaultNumberOptions,
    /// One webhook, by its id in `ops parked` or `ops message`; repeat it for several
    #[arg(long = "event", id = "events", value_name = "ID")]
    events: Vec<String>,
    /// Webhooks whose reason contains this text
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Webhooks received since a time, as 2026-11-22T20:15:00Z, or since so long ago: 90s, 15m, 6h, 3d
    #[arg(long, value_name = "TIME", value_parser = since)]
    since: Option<OffsetDateTime>,
    /// Webhooks received before a time
    #[arg(long, value_name = "TIME", value_parser = since)]
    until: Option<OffsetDateTime>,
    /// Do it; without it the command only says what would become of each webhook
    #[arg(long)]
    yes: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    dry_run: bool,
    webhooks: Vec<Line>,
    /// Webhooks whose body was erased.
    erased: usize,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    event_id: String,
    outcome: &'static str,
    reason: Option<String>,
}

pub(super) async fn run(options: Reprocess, output: Output) -> anyhow::Result<ExitCode> {
    let default_number = options.default_number.read()?;
    let store = options.database.open().await?;
    let mut query = KeptQuery {
        event_ids: options.events,
        reason: options.reason,
        since: options.since,
        // Those that come meanwhile, or are put back as parked, are not looked at again.
        until: Some(options.until.unwrap_or_else(OffsetDateTime::now_utc)),
        limit: PAGE,
        ..KeptQuery::default()
    };
    let mut report = Report { dry_run: !options.yes, webhooks: Vec::new(), erased: 0 };
    loop {
        let page = store.kept_webhooks(&query).await.context("can't list the kept webhooks")?;
        let Some(last) = page.last() else { break };
        query.after = Some((last.received_at, last.event_id.clone()));
        let ids: Vec<&str> = page.iter().map(|webhook| webhook.event_id.as_str()).collect();
        let done = reprocess(&store, &ids, default_number.as_ref(), report.dry_run).await?;
        report.erased += ids.len().saturating_sub(done.len());
        report.webhooks.extend(done.into_iter().map(Line::from));
    }
    output.report(&report)?;
    Ok(ExitCode::SUCCESS)
}

async fn reprocess(
    store: &Store,
    ids: &[&str],
    default_number: Option<&DefaultNumber>,
    dry: bool,
) -> anyhow::Result<Vec<Reprocessed>> {
    let bodies = store.kept_bodies(ids).await.context("can't read the kept webhooks")?;
    let webhooks: Vec<Webhook> = bodies.into_iter().map(|kept| read(kept, default_number)).collect();
    let done = store.reprocess(&webhooks, dry).await;
    done.context("can't process the webhooks again; those before are done, run the command again")
}

/// Reads a body anew, as webhook-ingest would. The webhook keeps its id.
fn read(kept: KeptBody, default_number: Option<&DefaultNumber>) -> Webhook {
    let body = VerifiedBody::recorded(kept.body);
    let webhook = parse::webhook(&body, default_number, kept.received_at).webhook;
    Webhook { event_id: kept.event_id, ..webhook }
}

impl From<Reprocessed> for Line {
    fn from(Reprocessed { event_id, outcome, reason }: Reprocessed) -> Self {
        Self { event_id, outcome: outcome.into(), reason }
    }
}

impl Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let row = |line: &Line| {
            [line.event_id.clone(), line.outcome.to_owned(), line.reason.clone().unwrap_or_default()]
        };
        table(out, &self.webhooks.iter().map(row).collect::<Vec<_>>())?;
        let (count, erased) = (self.webhooks.len(), self.erased);
        if self.dry_run {
            writeln!(out, "{count} webhooks would be processed again; --yes does it")?;
        } else {
            writeln!(out, "processed {count} webhooks again")?;
        }
        if erased > 0 {
            writeln!(out, "left {erased} webhooks out: they were erased, or applied meanwhile")?;
        }
        Ok(())
    }
}
