//! Posting webhooks as fast as the connections allow: a warm-up, then the measurement.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use deploy::processes::Processes;
use deploy::stack::Database;
use tests::load::post::{self, Posted};
use tests::load::record::Plan;
use tests::load::usage::{Meter, Used};

use crate::environment::Complaints;
use crate::stage::{self, Stage};

/// One webhook in this many more is sent before the clock starts.
const WARM_UP: usize = 10;
/// How long a handler may take to start.
const START: Duration = Duration::from_secs(30);

/// What to record for this many measured webhooks, two to each recipient, and for the warm-up before them.
pub(crate) fn plan(count: usize, recipients: usize, churches: usize) -> Plan {
    let messages = count.div_ceil(2 * recipients) * (WARM_UP + 1) / WARM_UP;
    Plan { churches, messages: messages.max(1), recipients }
}

/// Posts the requests over this many connections. The first of them are the warm-up, and not in the result. The meter
/// still runs.
pub(crate) async fn measure(
    connections: usize,
    address: SocketAddr,
    requests: &Arc<[Bytes]>,
    processes: &BTreeMap<String, u32>,
) -> anyhow::Result<(Posted, Meter)> {
    let warm_up = requests.len() / (WARM_UP + 1);
    let (first, rest): (Arc<[Bytes]>, Arc<[Bytes]>) =
        (requests[..warm_up].into(), requests[warm_up..].into());
    post::all(address, &first, connections).await?;
    let meter = Meter::start(processes);
    let posted = post::all(address, &rest, connections).await?;
    Ok((posted, meter))
}

/// Waits until a process of this name listens.
pub(crate) async fn until_it_listens(
    name: &str,
    processes: &mut Processes,
    address: SocketAddr,
) -> anyhow::Result<()> {
    let listens = async {
        while tokio::net::TcpStream::connect(address).await.is_err() {
            processes.check(name)?;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    };
    tokio::time::timeout(START, listens).await.with_context(|| format!("{name} does not listen"))?
}

/// Requests that were not answered 200, as a complaint.
pub(crate) fn refused(what: &str, posted: &Posted) -> Option<String> {
    let is_whole = posted.refused.is_empty();
    (!is_whole).then(|| format!("{what}: not all answered 200: {:?}", posted.statuses))
}

/// Checks that every posted webhook is in webhook-ingest's database.
pub(crate) async fn lost(
    what: &str,
    stage: &Stage,
    posted: usize,
    complaints: &mut Complaints,
) -> anyhow::Result<()> {
    let audit = stage.audit(what, complaints).await?;
    let recorded = audit.accepted - audit.duplicate;
    if recorded != i64::try_from(posted)? {
        complaints.push(format!("{what}: {posted} were posted, {recorded} are recorded"));
    }
    stage.quiet().await
}

/// Microseconds of the database's CPU for each of these; SQLite works within the handler.
pub(crate) fn database_cpu(database: Database, used: &Used, count: u64) -> String {
    match database {
        Database::Sqlite => "(within)".into(),
        Database::Postgres => format!("{:.0}", used.micros_per(stage::POSTGRES, count)),
    }
}
