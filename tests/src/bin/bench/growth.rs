//! CPU of a webhook in a small and in a large database: what was recorded before must not make a new webhook dear.

use deploy::services::INGEST;
use deploy::stack::Database;
use tests::load::filling::Amount;
use tests::load::post::Posted;
use tests::load::report::{Table, rate};
use tests::load::usage::{GENERATOR, Used};

use crate::environment::{Complaints, Environment};
use crate::posting;
use crate::stage::{self, POSTGRES, Stage};

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Webhooks of each row, half of them `message.sent`, half `message.finalized`
    #[arg(long, default_value_t = 20_000, value_name = "N")]
    count: usize,
    /// Churches of the large database
    #[arg(long, default_value_t = 10_000, value_name = "N")]
    churches: usize,
    /// Messages of the large database
    #[arg(long, default_value_t = 1_000_000, value_name = "N")]
    messages: usize,
    /// Kept connections, each with one webhook at a time
    #[arg(long, default_value_t = 64, value_name = "N")]
    connections: usize,
}

/// Churches of the small database.
const FEW: usize = 10;
/// Recipients of each message whose webhooks are posted.
const RECIPIENTS: usize = 10;
/// One message in this many is the large church's.
const LARGE: usize = 10;
const HEADS: [&str; 11] = [
    "database",
    "churches",
    "messages before",
    "webhooks",
    "a second",
    "p99 ms",
    "ingest CPU us each",
    "database CPU us each",
    "together",
    "of the small one's",
    "generator cores",
];

/// One row.
struct Run {
    database: Database,
    churches: usize,
    messages: usize,
    posted: Posted,
    used: Used,
}

impl Run {
    /// Microseconds of a webhook in these processes.
    fn micros(&self, process: &str) -> f64 {
        self.used.micros_per(process, self.posted.latencies.count())
    }

    fn together(&self) -> f64 {
        self.micros(INGEST) + self.micros(POSTGRES)
    }
}

pub(crate) async fn run(options: &Options, environment: &Environment) -> anyhow::Result<Complaints> {
    let title = format!("growth: {} connections, messages of {RECIPIENTS} recipients", options.connections);
    let (mut table, mut runs, mut complaints) = (Table::new(title, &HEADS), Vec::new(), Complaints::new());
    for database in &environment.databases {
        let sizes = [(FEW, 0), (options.churches, options.messages)];
        let mut of_small = None;
        for (churches, messages) in sizes {
            let run = measure(options, environment, *database, (churches, messages), &mut complaints).await?;
            let small = *of_small.get_or_insert(run.together());
            table.row(row(&run, small));
            runs.push(run.used);
        }
    }
    table.print(&runs.iter().collect::<Vec<_>>());
    Ok(complaints)
}

async fn measure(
    options: &Options,
    environment: &Environment,
    database: Database,
    (churches, messages): (usize, usize),
    complaints: &mut Complaints,
) -> anyhow::Result<Run> {
    let mut stage = Box::pin(Stage::start(environment, database)).await?;
    if messages > 0 {
        stage.fill(Amount::of_months(churches, messages, LARGE)).await?;
    }
    let targets = stage.record(posting::plan(options.count, RECIPIENTS, churches)).await?;
    let requests = stage.mixed(&targets)?;
    let processes = &stage.stack.file().processes;
    let address = stage.ingest()?;
    let (posted, meter) = posting::measure(options.connections, address, &requests, processes).await?;
    // The announcing belongs to it.
    stage.quiet().await?;
    let used = meter.stop();
    let what = format!("growth on {}, {messages} messages", stage::name(database));
    complaints.extend(posting::refused(&what, &posted));
    posting::lost(&what, &stage, requests.len() + messages, complaints).await?;
    stage.stop().await;
    Ok(Run { database, churches, messages, posted, used })
}

fn row(run: &Run, small: f64) -> Vec<String> {
    let count = run.posted.latencies.count();
    vec![
        stage::name(run.database),
        run.churches.to_string(),
        run.messages.to_string(),
        count.to_string(),
        rate(count, run.posted.wall),
        run.posted.latencies.at(0.99),
        format!("{:.0}", run.micros(INGEST)),
        posting::database_cpu(run.database, &run.used, count),
        format!("{:.0}", run.together()),
        format!("{:.2}x", run.together() / small.max(1e-9)),
        format!("{:.2}", run.used.cores(GENERATOR)),
    ]
}
