//! `ops failures`: which texts failed, and why.

use std::fmt::{self, Display};
use std::process::ExitCode;

use anyhow::Context as _;
use common::event::timestamp;
use common::store::{FailedRecipient, FailureCount, FailureQuery, Store};
use common::subject::ChurchId;
use serde::Serialize;
use time::OffsetDateTime;
use uuid::Uuid;

use super::database::DatabaseOptions;
use super::found::unknown_church;
use super::output::{Output, counted, moment, table};
use super::times::since;

#[derive(clap::Args)]
pub(super) struct Failures {
    #[command(flatten)]
    database: DatabaseOptions,
    /// Recipients that failed since a time, as 2026-11-22T20:15:00Z, or since so long ago: 90s, 15m, 6h, 3d
    #[arg(long, value_name = "TIME", value_parser = since, default_value = "24h")]
    since: OffsetDateTime,
    /// Only those of one church
    #[arg(long)]
    church: Option<ChurchId>,
    /// Only those with this code (40300, unresolved)
    #[arg(long)]
    code: Option<String>,
    /// Most recipients to list
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Report {
    reasons: Vec<Reason>,
    recipients: Vec<Recipient>,
    /// Why there may be none.
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Reason {
    code: String,
    reason: String,
    recipients: i64,
    messages: i64,
    #[serde(with = "timestamp")]
    last: OffsetDateTime,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Recipient {
    #[serde(with = "timestamp")]
    failed_at: OffsetDateTime,
    code: String,
    church_id: ChurchId,
    message_id: Uuid,
    recipient_id: Uuid,
    phone: String,
    retry_id: Option<Uuid>,
}

/// Exit code 1 if any recipient failed.
pub(super) async fn run(options: Failures, output: Output) -> anyhow::Result<ExitCode> {
    let query = FailureQuery { since: options.since, church: options.church, code: options.code };
    let report = read(&options.database.open().await?, &query, options.limit).await?;
    output.report(&report)?;
    Ok(if report.reasons.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Counts the failures, and lists the last ones.
pub(super) async fn read(store: &Store, query: &FailureQuery, limit: u32) -> anyhow::Result<Report> {
    let reasons = store.failure_counts(query).await.context("can't count the failures")?;
    let recipients = store.failed_recipients(query, limit).await.context("can't list the failures")?;
    let note = if reasons.is_empty() { why_none(store, query).await? } else { None };
    Ok(Report {
        note,
        reasons: reasons.into_iter().map(Reason::from).collect(),
        recipients: recipients.into_iter().map(Recipient::from).collect(),
    })
}

/// Why there may be no failure: what was asked for may be mistyped.
async fn why_none(store: &Store, query: &FailureQuery) -> anyhow::Result<Option<String>> {
    let unknown = match &query.church {
        Some(church) => unknown_church(store, church).await?,
        None => None,
    };
    let since = moment(query.since);
    let of_code = query.code.as_ref().map(|code| format!("looked for the code {code} since {since}"));
    Ok(unknown.or(of_code))
}

impl From<FailureCount> for Reason {
    fn from(FailureCount { code, reason, recipients, messages, last }: FailureCount) -> Self {
        Self { code, reason, recipients, messages, last }
    }
}

impl From<FailedRecipient> for Recipient {
    fn from(recipient: FailedRecipient) -> Self {
        let FailedRecipient { church_id, message_id, id, phone, code, failed_at, retry_id } = recipient;
        Self { failed_at, code, church_id, message_id, recipient_id: id, phone, retry_id }
    }
}

impl Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.reasons.is_empty() {
            writeln!(out, "no recipient failed")?;
            return self.note.iter().try_for_each(|note| writeln!(out, "note: {note}"));
        }
        let reasons = self.reasons.iter().map(Reason::row).collect::<Vec<_>>();
        table(out, &reasons)?;
        writeln!(out)?;
        table(out, &self.recipients.iter().map(Recipient::row).collect::<Vec<_>>())?;
        let all: i64 = self.reasons.iter().map(|reason| reason.recipients).sum();
        let listed = i64::try_from(self.recipients.len()).unwrap_or(i64::MAX);
        if all > listed {
            writeln!(out, "and {} more; --limit lists them", all - listed)?;
        }
        Ok(())
    }
}

impl Reason {
    fn row(&self) -> [String; 4] {
        let texts = counted(self.recipients, "text");
        let counts = match self.messages {
            messages if messages == self.recipients => texts,
            messages => format!("{texts} of {}", counted(messages, "message")),
        };
        [self.code.clone(), counts, format!("last {}", moment(self.last)), self.reason.clone()]
    }
}

impl Recipient {
    fn row(&self) -> [String; 6] {
        let retried = self.retry_id.map(|id| format!("retried as {id}")).unwrap_or_default();
        let message = format!("message {}", self.message_id);
        let (church, code) = (self.church_id.to_string(), self.code.clone());
        [moment(self.failed_at), church, code, self.phone.clone(), message, retried]
    }
}
