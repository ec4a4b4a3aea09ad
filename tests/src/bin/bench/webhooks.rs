//! Durable webhooks per second. Requests are signed and recipients recorded beforehand, and every webhook is applied.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use deploy::ports::Port;
use deploy::processes::Processes;
use deploy::program::Program;
use deploy::stack::Database;
use tests::load::post::Posted;
use tests::load::report::{Table, rate};
use tests::load::usage::{GENERATOR, Used};

use crate::environment::{Complaints, Environment};
use crate::posting::{database_cpu, lost, measure, plan, refused, until_it_listens};
use crate::stage::{self, POSTGRES, Stage};

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Webhooks that are measured, half of them `message.sent`, half `message.finalized`
    #[arg(long, default_value_t = 20_000, value_name = "N")]
    count: usize,
    /// Kept connections, each with one webhook at a time
    #[arg(long, default_value_t = 64, value_name = "N")]
    connections: usize,
    /// Recipients of each message
    #[arg(long, default_value_t = 10, value_name = "N")]
    recipients: usize,
    /// Churches
    #[arg(long, default_value_t = 100, value_name = "N")]
    churches: usize,
}

/// The bare handler's process name.
const BARE: &str = "bare";
const HEADS: [&str; 11] = [
    "database",
    "handler",
    "webhooks",
    "a second",
    "webhooks a commit",
    "p50 ms",
    "p99 ms",
    "max ms",
    "handler CPU us each",
    "database CPU us each",
    "generator cores",
];

pub(crate) async fn run(options: &Options, environment: &Environment) -> anyhow::Result<Complaints> {
    let title = format!(
        "webhooks: answered 200 after the commit, {} connections, messages of {} recipients in {} churches",
        options.connections, options.recipients, options.churches
    );
    let (mut table, mut runs, mut complaints) = (Table::new(title, &HEADS), Vec::new(), Complaints::new());
    for database in &environment.databases {
        let stage = Stage::start(environment, *database).await?;
        let targets = stage.record(plan(options.count, options.recipients, options.churches)).await?;
        let requests = stage.mixed(&targets)?;
        let (bare, bare_used) = bare(options, &stage, &requests).await?;
        let commits = stage.commits().await?;
        let (whole, used) = whole(options, &stage, &requests).await?;
        let commits = stage.commits().await? - commits;
        let a_commit = format!("{:.0}", requests.len() as f64 / commits.max(1) as f64);
        table.row(row(*database, (BARE, "".into()), &bare, &bare_used));
        table.row(row(*database, ("webhook-ingest", a_commit), &whole, &used));
        for (handler, posted) in [(BARE, &bare), ("webhook-ingest", &whole)] {
            let what = format!("webhooks, {handler} on {}", stage::name(*database));
            complaints.extend(refused(&what, posted));
        }
        let what = format!("webhooks on {}", stage::name(*database));
        lost(&what, &stage, requests.len(), &mut complaints).await?;
        runs.extend([bare_used, used]);
        stage.stop().await;
    }
    table.print(&runs.iter().collect::<Vec<_>>());
    Ok(complaints)
}

fn row(database: Database, (handler, a_commit): (&str, String), posted: &Posted, used: &Used) -> Vec<String> {
    let count = posted.latencies.count();
    vec![
        stage::name(database),
        handler.into(),
        count.to_string(),
        rate(count, posted.wall),
        a_commit,
        posted.latencies.at(0.5),
        posted.latencies.at(0.99),
        posted.latencies.max(),
        format!("{:.0}", used.micros_per(handler, count)),
        database_cpu(database, used, count),
        format!("{:.2}", used.cores(GENERATOR)),
    ]
}

/// Posts to webhook-ingest.
async fn whole(options: &Options, stage: &Stage, requests: &Arc<[Bytes]>) -> anyhow::Result<(Posted, Used)> {
    let processes = &stage.stack.file().processes;
    let (posted, meter) = measure(options.connections, stage.ingest()?, requests, processes).await?;
    Ok((posted, meter.stop()))
}

/// Posts the same to the bare handler while the stack is idle.
async fn bare(options: &Options, stage: &Stage, requests: &Arc<[Bytes]>) -> anyhow::Result<(Posted, Used)> {
    let port = Port::free()?;
    let address = SocketAddr::from(([127, 0, 0, 1], port.number()));
    let file = stage.stack.file();
    let database_url = match file.database.strip_suffix("church.db") {
        Some(folder) => format!("{folder}bare.db"),
        None => file.database.clone(),
    };
    let mut program = Program::new(BARE, std::env::current_exe()?);
    program.arguments = [BARE, "--listen", &address.to_string(), "--database-url", &database_url]
        .into_iter()
        .chain(["--public-key", &file.telnyx_key.public])
        .map(str::to_owned)
        .collect();
    let mut processes = Processes::new(&stage.stack.state().join("logs"))?;
    processes.start(program)?;
    until_it_listens(BARE, &mut processes, address).await?;
    let mut ids: BTreeMap<_, _> = processes.ids().into_iter().collect();
    ids.extend(file.processes.get_key_value(POSTGRES).map(|(name, id)| (name.clone(), *id)));
    let measured = measure(options.connections, address, requests, &ids).await;
    let measured = measured.map(|(posted, meter)| (posted, meter.stop()));
    processes.stop_all().await;
    measured
}
