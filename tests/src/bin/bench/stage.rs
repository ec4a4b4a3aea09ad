//! A stack of its own for each measurement, on fresh data, and what all measurements do with it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use common::store::{Audit, Store, StoreOptions};
use deploy::installation::Database;
use deploy::ports::Ports;
use deploy::services::API;
use deploy::stack::{Stack, StackOptions};
use secrecy::SecretString;
use tempfile::TempDir;
use tests::load::fleet::{Heard, Seat, Tally};
use tests::load::http;
use tests::load::record::{self, Plan, Target, church_id};
use tests::load::usage::Meter;
use tests::load::webhooks::{self, Report};

use crate::{Complaints, Place};

/// Longest wait until what was recorded is announced.
const QUIET_LIMIT: Duration = Duration::from_secs(120);
/// Clients keep their token for the whole measurement.
const TOKEN_LIFE: Duration = Duration::from_secs(3_600);

/// The gateway's name as a process.
pub(crate) const GATEWAY: &str = "realtime-gateway-1";

/// A running stack with a store on its database.
pub(crate) struct Stage {
    pub(crate) stack: Stack,
    pub(crate) store: Store,
    folder: TempDir,
}

impl Stage {
    /// Starts one with one gateway.
    pub(crate) async fn start(place: &Place, database: Database) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("b").tempdir_in(&place.state)?;
        let mut options = StackOptions::new(folder.path());
        options.database = Some(database);
        options.ports = Ports::Free;
        // Clients come faster here than a gateway lets strangers in.
        let unlimited = ("realtime-gateway".into(), "GATEWAY_CONNECTS_PER_SECOND".into(), "0".into());
        options.environment.push(unlimited);
        let stack = Stack::start(options).await.context("the stack does not start")?;
        let url = SecretString::from(stack.file().database.clone());
        let store = Store::new(&StoreOptions { database_url: url, database_connections: 8 })?;
        let mut stage = Self { stack, store, folder };
        stage.relay_in_ingest().await?;
        Ok(stage)
    }

    /// The relay works in whichever service was first. Here always in webhook-ingest, so that CPU times compare.
    async fn relay_in_ingest(&mut self) -> anyhow::Result<()> {
        self.stack.terminate(API).await?;
        // An event that is announced now was announced by the only other one.
        self.record(Plan { churches: 1, messages: 1, recipients: 1 }).await?;
        self.stack.start_process(API)?;
        self.stack.ready(API).await
    }

    /// Stops it; its data is deleted.
    pub(crate) async fn stop(self) {
        self.stack.stop().await;
        // What can't be deleted stays in the target folder.
        let _ = self.folder.close();
    }

    /// webhook-ingest's address.
    pub(crate) fn ingest(&self) -> anyhow::Result<SocketAddr> {
        http::address_of(&self.stack.file().ingest)
    }

    /// The gateway's address.
    pub(crate) fn gateway(&self) -> anyhow::Result<SocketAddr> {
        http::address_of(self.stack.file().gateways.first().context("there is no gateway")?)
    }

    /// The gateway's process id.
    pub(crate) fn gateway_id(&self) -> anyhow::Result<u32> {
        let id = self.stack.file().processes.get(GATEWAY);
        id.copied().context("the gateway has no process")
    }

    /// Starts to measure the CPU of all processes.
    pub(crate) fn meter(&self) -> Meter {
        Meter::start(&self.stack.file().processes)
    }

    /// How many commits webhook-ingest has made.
    pub(crate) async fn commits(&self) -> anyhow::Result<u64> {
        const COUNT: &str = "ingest_commit_seconds_count ";
        let url = format!("{}/metrics", self.stack.file().ops.ingest);
        let metrics = self.stack.http().get(url).send().await?.text().await?;
        let count = metrics.lines().find_map(|line| line.strip_prefix(COUNT)?.trim().parse().ok());
        count.context("webhook-ingest does not count its commits")
    }

    /// Records messages and waits until they are announced.
    pub(crate) async fn record(&self, plan: Plan) -> anyhow::Result<Vec<Target>> {
        let targets = record::messages(&self.store, plan).await.context("the messages are not recorded")?;
        self.quiet().await?;
        Ok(targets)
    }

    /// Waits until nothing waits in the outbox.
    pub(crate) async fn quiet(&self) -> anyhow::Result<()> {
        let quiet = async {
            while !self.store.waiting_events(1).await?.is_empty() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Ok(())
        };
        tokio::time::timeout(QUIET_LIMIT, quiet).await.context("the outbox does not get empty")?
    }

    /// Signed requests, one for each target.
    pub(crate) fn requests(&self, targets: &[Target], report: Report) -> anyhow::Result<Vec<Bytes>> {
        let (simulator, ingest) = (self.stack.simulator()?, self.ingest()?);
        let signer = simulator.signer();
        Ok(targets.iter().map(|target| webhooks::request(signer, ingest, target, report)).collect())
    }

    /// The requests of a mix: of each 500 recipients first that the message is on its way, then that it arrived.
    pub(crate) fn mixed(&self, targets: &[Target]) -> anyhow::Result<Arc<[Bytes]>> {
        let mut requests = Vec::with_capacity(targets.len() * 2);
        for some in targets.chunks(500) {
            requests.extend(self.requests(some, Report::Sent)?);
            requests.extend(self.requests(some, Report::Delivered)?);
        }
        Ok(requests.into())
    }

    /// Seats for so many clients in each of so many churches.
    pub(crate) fn seats(&self, churches: usize, each: usize) -> anyhow::Result<Vec<Seat>> {
        let address = self.gateway()?;
        let seat = |number: usize| {
            let church = number % churches;
            let token = self.stack.token(&church_id(church), &format!("user-{number}"), TOKEN_LIFE)?;
            Ok(Seat { address, church, token })
        };
        (0..churches * each).map(seat).collect()
    }

    /// The sum of the books; what does not add up is a complaint.
    pub(crate) async fn audit(&self, what: &str, complaints: &mut Complaints) -> anyhow::Result<Audit> {
        let audit = self.store.audit().await.context("the books can't be read")?;
        if !audit.is_sound() {
            complaints.push(format!("{what}: the books do not add up: {audit:?}"));
        }
        Ok(audit)
    }
}

/// What clients missed, or why they were cut off, as complaints.
pub(crate) fn check(what: &str, all: &[Heard], tally: Tally, complaints: &mut Complaints) {
    if tally.missing() > 0 {
        complaints.push(format!("{what}: {} of {} deliveries are missing", tally.missing(), tally.expected));
    }
    let broken: Vec<_> = all.iter().filter_map(|heard| heard.broken.as_deref()).collect();
    if let Some(first) = broken.first() {
        complaints
            .push(format!("{what}: {} connections ended by themselves, the first: {first}", broken.len()));
    }
}

/// A share in per cent.
pub(crate) fn share(part: u64, whole: u64) -> String {
    format!("{:.3} %", part as f64 * 100.0 / whole.max(1) as f64)
}

/// The name of a database in a table.
pub(crate) fn name(database: Database) -> String {
    match database {
        Database::Sqlite => "SQLite".into(),
        Database::Postgres => "PostgreSQL".into(),
    }
}
