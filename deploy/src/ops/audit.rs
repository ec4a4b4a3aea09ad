//! `ops audit`: names each message, event and webhook that does not add up.

use std::fmt::{self, Display};
use std::process::ExitCode;

use anyhow::Context as _;
use common::store::{Audit, Discrepancy, RefusedEvent, Store};
use serde::Serialize;
use uuid::Uuid;

use super::broker::{self, BrokerOptions};
use super::comparison::{Comparison, Difference, compare};
use super::database::DatabaseOptions;
use super::events;
use super::output::{Output, counted, table};
use super::progress::Progress;

/// Most refused events that are listed; the audit counts all.
const NAMED: u32 = 100;

#[derive(clap::Args)]
pub(super) struct AuditOptions {
    #[command(flatten)]
    database: DatabaseOptions,
    #[command(flatten)]
    broker: BrokerOptions,
    /// Let the relay announce lost events again
    #[arg(long)]
    repair: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Report {
    #[serde(flatten)]
    sums: Audit,
    /// Events of the stream that were compared with the outbox; none without the broker's password.
    compared_events: Option<u64>,
    /// The events that the stream refuses.
    refused: Vec<RefusedEvent>,
    found: Vec<Found>,
    /// Events that the relay announces again.
    repaired: u64,
    /// What was not looked at.
    notes: Vec<String>,
}

/// Something that does not add up.
#[derive(Serialize)]
struct Found {
    kind: &'static str,
    id: String,
    verdict: &'static str,
    says: String,
}

/// Exit code 1 if anything does not add up and was not repaired.
pub(super) async fn run(options: AuditOptions, output: Output) -> anyhow::Result<ExitCode> {
    let store = options.database.open().await?;
    let report = audit(&store, &options.broker, options.repair, &Progress::printed(output, "read")).await?;
    output.report(&report)?;
    Ok(if report.is_sound() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Audits the database, and compares it with the stream if there is a password for that.
pub(super) async fn audit(
    store: &Store,
    broker: &BrokerOptions,
    repairs: bool,
    progress: &Progress,
) -> anyhow::Result<Report> {
    let told = |done| progress.tell(done, None, "webhooks and messages");
    let (sums, discrepancies) = store.audit_and_name(&told).await.context("can't audit the database")?;
    let refused = store.refused_events(NAMED).await.context("can't read the refused events")?;
    let mut report =
        Report { sums, compared_events: None, refused, found: Vec::new(), repaired: 0, notes: Vec::new() };
    report.found.extend(discrepancies.into_iter().map(Found::from));
    let differences = match broker.connect_if_set().await? {
        Some(client) => {
            let Comparison { events, differences } =
                compare(store, &events::stream(client).await?, progress).await?;
            report.compared_events = Some(events);
            differences
        }
        None => {
            report.notes.push(format!("the stream was not compared: {} is not set", broker::PASSWORD));
            Vec::new()
        }
    };
    if repairs {
        report.repaired = repair(store, &differences).await?;
    }
    report.found.extend(differences.into_iter().map(Found::from));
    Ok(report)
}

/// Lets the relay announce lost events again.
async fn repair(store: &Store, differences: &[Difference]) -> anyhow::Result<u64> {
    let lost = |difference: &Difference| match difference {
        Difference::Lost(event) => Some(event.event_id),
        Difference::Twice { .. } | Difference::Unknown { .. } => None,
    };
    let lost: Vec<Uuid> = differences.iter().filter_map(lost).collect();
    store.announce_again(&lost).await.context("can't put the lost events back into the outbox")
}

impl From<Discrepancy> for Found {
    fn from(discrepancy: Discrepancy) -> Self {
        let new = |kind, id, verdict, says: &str| Self { kind, id, verdict, says: says.into() };
        match discrepancy {
            Discrepancy::UnmatchedWebhook(id) => {
                new("webhook", id, "unknown", "its outcome and its recipient contradict each other")
            }
            Discrepancy::MiscountedMessage(id) => {
                new("message", id.to_string(), "miscounted", "its counters differ from its recipients")
            }
            Discrepancy::UnannouncedMessage(id) => {
                new("message", id.to_string(), "lost", "its newest version was never put into the outbox")
            }
        }
    }
}

impl From<Difference> for Found {
    fn from(difference: Difference) -> Self {
        let new = |id, verdict, says| Self { kind: "event", id, verdict, says };
        match difference {
            Difference::Lost(event) => {
                let says = format!(
                    "of message {}: it is not in the stream at {}",
                    event.message_id, event.stream_seq
                );
                new(event.event_id.to_string(), "lost", says)
            }
            Difference::Twice { event_id, sequence } => new(
                event_id.to_string(),
                "twice",
                format!("the stream holds it at {sequence}, too; it does no harm"),
            ),
            Difference::Unknown { id, sequence } => new(
                id,
                "unknown",
                format!("the stream holds it at {sequence}, and the outbox does not know it"),
            ),
        }
    }
}

impl Report {
    /// Whether everything adds up, or was repaired.
    fn is_sound(&self) -> bool {
        let others = self.found.len() - self.lost();
        self.sums.is_sound() && others == 0 && self.repaired == self.lost() as u64
    }

    /// Events that the stream lost.
    pub(super) fn lost(&self) -> usize {
        self.found.iter().filter(|found| found.kind == "event" && found.verdict == "lost").count()
    }

    /// Cuts what was found down to its first rows. Returns how many were cut off.
    pub(super) fn cut(&mut self, rows: usize) -> usize {
        let all = self.found.len();
        self.found.truncate(rows);
        all - self.found.len()
    }

    /// What it came to, in lines.
    pub(super) fn sum(&self) -> String {
        let verdict = match (self.is_sound(), self.compared_events) {
            (false, _) => "the audit found errors",
            (true, Some(_)) => "everything adds up: nothing is lost, and nothing is there twice",
            (true, None) => "the database adds up",
        };
        if self.repaired == 0 {
            return verdict.into();
        }
        let events = counted(i64::try_from(self.repaired).unwrap_or(i64::MAX), "event");
        format!("the relay announces {events} again\n{verdict}")
    }
}

impl Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Audit { accepted, applied, duplicate, stale, parked, received, ignored, .. } = self.sums;
        writeln!(
            out,
            "{}: {applied} applied, {duplicate} repeated, {stale} stale, {parked} parked, {received} texts that \
             came in, {ignored} ignored",
            counted(accepted, "webhook")
        )?;
        if let Some(events) = self.compared_events {
            let events = counted(i64::try_from(events).unwrap_or(i64::MAX), "event");
            let waiting = self.sums.waiting_events;
            writeln!(out, "{events} of the stream compared with the outbox; {waiting} wait to be announced")?;
        }
        for RefusedEvent { event_id, message_id, subject, reason } in &self.refused {
            writeln!(
                out,
                "the stream refuses event {event_id} of message {message_id} on {subject}: {reason}"
            )?;
        }
        let row = |found: &Found| {
            [found.verdict.to_owned(), format!("{} {}", found.kind, found.id), found.says.clone()]
        };
        table(out, &self.found.iter().map(row).collect::<Vec<_>>())?;
        self.notes.iter().try_for_each(|note| writeln!(out, "note: {note}"))?;
        writeln!(out, "{}", self.sum())
    }
}
