//! `ops reprocess`: kept webhooks that changed nothing, once more, after a fault was mended.

use std::collections::BTreeMap;
use std::fmt::{self, Display};
use std::process::ExitCode;

use anyhow::{Context as _, ensure};
use clap::builder::NonEmptyStringValueParser;
use common::store::{KeptBody, KeptQuery, Reprocessed, Store, Webhook};
use serde::Serialize;
use time::OffsetDateTime;
use webhook_ingest::parse;
use webhook_ingest::settings::{DefaultNumber, DefaultNumberOptions};
use webhook_ingest::signature::VerifiedBody;

use super::database::DatabaseOptions;
use super::output::{Output, counted, table};
use super::progress::Progress;
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
    #[arg(long, value_name = "TEXT", value_parser = NonEmptyStringValueParser::new())]
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

/// What is processed again, and as what.
pub(super) struct Again<'a> {
    pub(super) store: &'a Store,
    pub(super) default_number: Option<DefaultNumber>,
    /// Its `until` keeps those out that come meanwhile, or are put back as parked.
    pub(super) query: KeptQuery,
    /// Only say what would become of each webhook.
    pub(super) dry: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Report {
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
    ensure_kept(&store, &options.events).await?;
    let query = KeptQuery {
        event_ids: options.events,
        reason: options.reason,
        since: options.since,
        until: Some(options.until.unwrap_or_else(OffsetDateTime::now_utc)),
        ..KeptQuery::default()
    };
    let again = Again { store: &store, default_number, query, dry: !options.yes };
    output.report(&again.run(&Progress::printed(output, "processed")).await?)?;
    Ok(ExitCode::SUCCESS)
}

/// Fails if one of these webhooks is not there: its id may be mistyped.
async fn ensure_kept(store: &Store, events: &[String]) -> anyhow::Result<()> {
    for id in events {
        let kept = store.webhook(id).await.context("can't read the webhook")?;
        ensure!(
            kept.is_some(),
            "--event: there is no webhook {id}; it may have been deleted (WEBHOOK_RETENTION_DAYS)"
        );
    }
    Ok(())
}

impl Again<'_> {
    /// Processes page after page, each in its own transaction, until nothing is left or the work is to stop.
    pub(super) async fn run(self, progress: &Progress) -> anyhow::Result<Report> {
        let Self { store, default_number, query, dry } = self;
        let mut query = KeptQuery { limit: PAGE, ..query };
        let mut report = Report { dry_run: dry, webhooks: Vec::new(), erased: 0 };
        while !progress.stop.is_cancelled() {
            let page = store.kept_webhooks(&query).await.context("can't list the kept webhooks")?;
            let Some(last) = page.last() else { break };
            query.after = Some((last.received_at, last.event_id.clone()));
            let ids: Vec<&str> = page.iter().map(|webhook| webhook.event_id.as_str()).collect();
            let done = reprocess(store, &ids, default_number.as_ref(), dry).await?;
            report.erased += ids.len().saturating_sub(done.len());
            report.webhooks.extend(done.into_iter().map(Line::from));
            progress.tell(report.webhooks.len() as u64, None, "webhooks");
        }
        Ok(report)
    }
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

impl Report {
    /// What it came to, in a sentence.
    pub(super) fn sum(&self) -> String {
        if self.webhooks.is_empty() {
            return "no such webhook changed nothing".into();
        }
        let webhooks = counted(i64::try_from(self.webhooks.len()).unwrap_or(i64::MAX), "webhook");
        let mut outcomes = BTreeMap::new();
        for line in &self.webhooks {
            *outcomes.entry(line.outcome).or_insert(0) += 1;
        }
        let outcomes: Vec<String> =
            outcomes.iter().map(|(outcome, count)| format!("{count} {outcome}")).collect();
        let outcomes = outcomes.join(", ");
        if self.dry_run {
            format!("{webhooks} would be processed again: {outcomes}")
        } else {
            format!("processed {webhooks} again: {outcomes}")
        }
    }
}

impl Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let row = |line: &Line| {
            [line.event_id.clone(), line.outcome.to_owned(), line.reason.clone().unwrap_or_default()]
        };
        table(out, &self.webhooks.iter().map(row).collect::<Vec<_>>())?;
        let hint = if self.dry_run && !self.webhooks.is_empty() { "; --yes does it" } else { "" };
        writeln!(out, "{}{hint}", self.sum())?;
        if self.erased > 0 {
            writeln!(out, "left {} webhooks out: they were erased, or applied meanwhile", self.erased)?;
        }
        Ok(())
    }
}
