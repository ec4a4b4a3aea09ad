//! Thousands of webhooks at once, as after an outage: each is answered while Telnyx still waits, and each one answered
//! 200 is in the database. Refused webhooks are sent once more, as Telnyx does.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tests::load::post::{self, PROMISE, Posted};
use tests::load::record::Plan;
use tests::load::report::Table;
use tests::load::usage::{GENERATOR, Used};

use crate::environment::{Complaints, Environment};
use crate::stage::{self, Stage};

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Webhooks at once, each on its own open connection
    #[arg(long, default_value_t = 5_000, value_name = "N")]
    count: usize,
}

/// The Retry-After of a 503.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// Connections of the second attempt, which is less sudden than the first.
const RETRY_CONNECTIONS: usize = 256;
const RECIPIENTS: usize = 10;
const HEADS: [&str; 10] = [
    "database",
    "webhooks",
    "200",
    "503",
    "no answer or other",
    "over 2 s",
    "p50 ms",
    "max ms",
    "recorded after a retry of the 503s",
    "generator cores",
];

pub(crate) async fn run(options: &Options, environment: &Environment) -> anyhow::Result<Complaints> {
    let title = format!("burst: {} webhooks at once", options.count);
    let (mut table, mut runs, mut complaints) = (Table::new(title, &HEADS), Vec::new(), Complaints::new());
    for database in &environment.databases {
        let stage = Stage::start(environment, *database).await?;
        let messages = options.count.div_ceil(2 * RECIPIENTS);
        let targets = stage.record(Plan { churches: 100, messages, recipients: RECIPIENTS }).await?;
        let requests: Arc<[Bytes]> = stage.mixed(&targets)?.iter().take(options.count).cloned().collect();
        let meter = stage.meter();
        let posted = post::at_once(stage.ingest()?, &requests).await?;
        let used = meter.stop();
        let again = retry(&stage, &requests, &posted).await?;
        let what = format!("burst on {}", stage::name(*database));
        let audit = stage.audit(&what, &mut complaints).await?;
        let recorded = audit.accepted - audit.duplicate;
        table.row(row(stage::name(*database), &posted, recorded, &used));
        judge(&what, &posted, &mut complaints);
        if !again.refused.is_empty() {
            complaints.push(format!("{what}: refused twice: {:?}", again.statuses));
        }
        if recorded != i64::try_from(requests.len())? {
            complaints.push(format!("{what}: {recorded} of {} are recorded", requests.len()));
        }
        runs.push(used);
        stage.stop().await;
    }
    table.print(&runs.iter().collect::<Vec<_>>());
    Ok(complaints)
}

/// Repeats the requests that were not answered 200.
async fn retry(stage: &Stage, requests: &Arc<[Bytes]>, posted: &Posted) -> anyhow::Result<Posted> {
    let again: Arc<[Bytes]> = posted.refused.iter().map(|number| requests[*number].clone()).collect();
    if again.is_empty() {
        return Ok(Posted::default());
    }
    tokio::time::sleep(RETRY_AFTER).await;
    post::all(stage.ingest()?, &again, RETRY_CONNECTIONS.min(again.len())).await
}

fn row(database: String, posted: &Posted, recorded: i64, used: &Used) -> Vec<String> {
    vec![
        database,
        (posted.latencies.count() + posted.unanswered).to_string(),
        posted.count(200).to_string(),
        posted.count(503).to_string(),
        others(posted).to_string(),
        posted.late.to_string(),
        posted.latencies.at(0.5),
        posted.latencies.max(),
        recorded.to_string(),
        format!("{:.2}", used.cores(GENERATOR)),
    ]
}

fn others(posted: &Posted) -> u64 {
    posted.unanswered + posted.latencies.count() - posted.count(200) - posted.count(503)
}

fn judge(what: &str, posted: &Posted, complaints: &mut Complaints) {
    let others = others(posted);
    if others > 0 {
        complaints.push(format!("{what}: {others} were answered neither 200 nor 503: {:?}", posted.statuses));
    }
    if posted.late > 0 {
        complaints.push(format!("{what}: {} answers took longer than {PROMISE:?}", posted.late));
    }
}
