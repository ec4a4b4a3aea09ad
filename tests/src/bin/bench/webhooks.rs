//! Durable webhooks a second: signed beforehand, recipients recorded beforehand, every one applied.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use deploy::ports::Port;
use deploy::processes::Processes;
use deploy::program::Program;
use deploy::stack::Database;
use tests::load::post::{self, Posted};
use tests::load::record::Plan;
use tests::load::report::{Table, rate};
use tests::load::usage::{GENERATOR, Meter, Used};

use crate::stage::{self, Stage};
use crate::{Complaints, Place};

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Webhooks that are measured, half of them `message.sent`, half `message.finalized`
    #[arg(long, default_value_t = 20_000, value_name = "N")]
    count: usize,
    /// Kept connections, each with one webhook under way
    #[arg(long, default_value_t = 64, value_name = "N")]
    connections: usize,
    /// Recipients of each message
    #[arg(long, default_value_t = 10, value_name = "N")]
    recipients: usize,
    /// Churches
    #[arg(long, default_value_t = 100, value_name = "N")]
    churches: usize,
}

/// Of all webhooks, the share sent before the clock starts.
const WARM_UP: usize = 10;
/// The bare handler's name as a process.
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

pub(crate) async fn run(options: &Options, place: &Place) -> anyhow::Result<Complaints> {
    let title = format!(
        "webhooks: answered 200 after the commit, {} connections, messages of {} recipients in {} churches",
        options.connections, options.recipients, options.churches
    );
    let (mut table, mut runs, mut complaints) = (Table::new(title, &HEADS), Vec::new(), Complaints::new());
    for database in &place.databases {
        let stage = Stage::start(place, *database).await?;
        let plan = Plan {
            churches: options.churches,
            messages: options.count.div_ceil(2 * options.recipients) * (WARM_UP + 1) / WARM_UP,
            recipients: options.recipients,
        };
        let targets = stage.record(plan).await?;
        let requests = stage.mixed(&targets)?;
        let (bare, bare_used) = bare(options, &stage, &requests).await?;
        let commits = stage.commits().await?;
        let (whole, used) = whole(options, &stage, &requests).await?;
        let commits = stage.commits().await? - commits;
        let a_commit = format!("{:.0}", requests.len() as f64 / commits.max(1) as f64);
        table.row(row(*database, (BARE, "".into()), &bare, &bare_used));
        table.row(row(*database, ("webhook-ingest", a_commit), &whole, &used));
        for (handler, posted) in [(BARE, &bare), ("webhook-ingest", &whole)] {
            if !posted.refused.is_empty() {
                let what = format!("webhooks, {handler} on {}", stage::name(*database));
                complaints.push(format!("{what}: not all answered 200: {:?}", posted.statuses));
            }
        }
        lost(&stage, *database, requests.len(), &mut complaints).await?;
        runs.extend([bare_used, used]);
        stage.stop().await;
    }
    table.print(&runs.iter().collect::<Vec<_>>());
    Ok(complaints)
}

fn row(database: Database, (handler, a_commit): (&str, String), posted: &Posted, used: &Used) -> Vec<String> {
    let count = posted.latencies.count();
    let database_cpu = match database {
        Database::Sqlite => "(within)".into(),
        Database::Postgres => format!("{:.0}", used.micros_per("postgres", count)),
    };
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
        database_cpu,
        format!("{:.2}", used.cores(GENERATOR)),
    ]
}

/// Posts to webhook-ingest.
async fn whole(options: &Options, stage: &Stage, requests: &Arc<[Bytes]>) -> anyhow::Result<(Posted, Used)> {
    measure(options, stage.ingest()?, requests, stage.stack.file().processes.clone()).await
}

/// Posts the same to the bare handler, with the stack beside it at rest.
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
    until_it_listens(&mut processes, address).await?;
    let mut ids: BTreeMap<_, _> = processes.ids().into_iter().collect();
    ids.extend(file.processes.get_key_value("postgres").map(|(name, id)| (name.clone(), *id)));
    let measured = measure(options, address, requests, ids).await;
    processes.stop_all().await;
    measured
}

async fn until_it_listens(processes: &mut Processes, address: SocketAddr) -> anyhow::Result<()> {
    let listens = async {
        while tokio::net::TcpStream::connect(address).await.is_err() {
            processes.check(BARE)?;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    };
    tokio::time::timeout(Duration::from_secs(30), listens)
        .await
        .context("the bare handler does not listen")?
}

async fn measure(
    options: &Options,
    address: SocketAddr,
    requests: &Arc<[Bytes]>,
    processes: BTreeMap<String, u32>,
) -> anyhow::Result<(Posted, Used)> {
    let warm_up = requests.len() / (WARM_UP + 1);
    let (first, rest): (Arc<[Bytes]>, Arc<[Bytes]>) =
        (requests[..warm_up].into(), requests[warm_up..].into());
    post::all(address, &first, options.connections).await?;
    let meter = Meter::start(&processes);
    let posted = post::all(address, &rest, options.connections).await?;
    Ok((posted, meter.stop()))
}

/// Whether all that was posted is in the record.
async fn lost(
    stage: &Stage,
    database: Database,
    posted: usize,
    complaints: &mut Complaints,
) -> anyhow::Result<()> {
    let what = format!("webhooks on {}", stage::name(database));
    let audit = stage.audit(&what, complaints).await?;
    let recorded = audit.accepted - audit.duplicate;
    if recorded != i64::try_from(posted)? {
        complaints.push(format!("{what}: {posted} were posted, {recorded} are recorded"));
    }
    stage.quiet().await
}
