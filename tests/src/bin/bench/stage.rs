//! A stack of its own for each measurement, on fresh data, and what all measurements do with it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use common::store::{Audit, Store, StoreOptions};
use deploy::ports::Ports;
use deploy::services::API;
use deploy::stack::{Database, Stack, StackOptions};
use secrecy::SecretString;
use tempfile::TempDir;
use tests::load::fleet::{Heard, Seat, Tally};
use tests::load::http;
use tests::load::record::{self, Plan, Target, church_id};
use tests::load::usage::{Meter, resident};
use tests::load::webhooks::{self, Report};

use crate::{Complaints, Place};

/// Longest wait until what was recorded is announced.
const QUIET_LIMIT: Duration = Duration::from_secs(120);
/// Clients keep their token for the whole measurement.
const TOKEN_LIFE: Duration = Duration::from_secs(3_600);

/// What the names of all gateways' processes begin with.
pub(crate) const GATEWAY: &str = "realtime-gateway";
/// The broker's.
pub(crate) const BROKER: &str = "nats-server";

/// What is not the same for all measurements.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Setup {
    pub(crate) gateways: usize,
    /// New sessions that a gateway lets in a second; 0 is no limit.
    pub(crate) connects_per_second: u32,
}

/// One gateway. Clients come faster here than a gateway lets strangers in.
pub(crate) const PLAIN: Setup = Setup { gateways: 1, connects_per_second: 0 };

/// A running stack with a store on its database.
pub(crate) struct Stage {
    pub(crate) stack: Stack,
    pub(crate) store: Store,
    folder: TempDir,
}

impl Stage {
    /// Starts one with one gateway.
    pub(crate) async fn start(place: &Place, database: Database) -> anyhow::Result<Self> {
        Self::start_with(PLAIN, place, database).await
    }

    /// Starts one.
    pub(crate) async fn start_with(setup: Setup, place: &Place, database: Database) -> anyhow::Result<Self> {
        let mut folder = tempfile::Builder::new().prefix("b").tempdir_in(&place.state)?;
        folder.disable_cleanup(place.keep);
        let mut options = StackOptions::new(folder.path());
        options.database = Some(database);
        options.ports = Ports::Free;
        options.gateways = setup.gateways;
        let rate = setup.connects_per_second.to_string();
        // The whole crowd comes from one address.
        for limit in ["GATEWAY_CONNECTS_PER_SECOND", "GATEWAY_ADDRESS_CONNECTS_PER_SECOND"] {
            options.environment.push((GATEWAY.into(), limit.into(), rate.clone()));
        }
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

    /// Stops it; its data is deleted, unless it shall be kept.
    pub(crate) async fn stop(self) {
        self.stack.stop().await;
        // What can't be deleted stays.
        drop(self.folder);
    }

    /// webhook-ingest's address.
    pub(crate) fn ingest(&self) -> anyhow::Result<SocketAddr> {
        http::address_of(&self.stack.file().ingest)
    }

    /// The gateways' addresses.
    pub(crate) fn gateways(&self) -> anyhow::Result<Vec<SocketAddr>> {
        self.stack.file().gateways.iter().map(|url| http::address_of(url)).collect()
    }

    /// Resident memory of all gateways, in bytes.
    pub(crate) fn gateway_memory(&self) -> u64 {
        let processes = self.stack.file().processes.iter();
        processes.filter(|(name, _)| name.starts_with(GATEWAY)).map(|(_, id)| resident(*id)).sum()
    }

    /// Sockets that the gateways say they have.
    pub(crate) async fn sockets(&self) -> anyhow::Result<u64> {
        let mut sockets = 0.0;
        for gateway in &self.stack.file().ops.gateways {
            sockets += self.metric(gateway, "church_gateway_sockets").await?;
        }
        Ok(sockets as u64)
    }

    /// Starts to measure the CPU of all processes.
    pub(crate) fn meter(&self) -> Meter {
        Meter::start(&self.stack.file().processes)
    }

    /// How many commits webhook-ingest has made.
    pub(crate) async fn commits(&self) -> anyhow::Result<u64> {
        Ok(self.metric(&self.stack.file().ops.ingest, "church_ingest_commit_seconds_count").await? as u64)
    }

    async fn metric(&self, ops_url: &str, name: &str) -> anyhow::Result<f64> {
        let metrics = self.stack.http().get(format!("{ops_url}/metrics")).send().await?.text().await?;
        let value = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok());
        value.with_context(|| format!("{ops_url} does not count {name}"))
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

    /// Seats for so many clients in each of so many churches. Those of a church are spread over the gateways.
    pub(crate) fn seats(&self, churches: usize, each: usize) -> anyhow::Result<Vec<Seat>> {
        let gateways = self.gateways()?;
        let seat = |number: usize| {
            let (church, mut gateways) = (number % churches, gateways.clone());
            let first = number / churches % gateways.len().max(1);
            gateways.rotate_left(first);
            let token = self.stack.token(&church_id(church), &format!("user-{number}"), TOKEN_LIFE)?;
            Ok(Seat { gateways, church, token })
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
    if tally.wrong > 0 {
        complaints.push(format!(
            "{what}: {} deliveries came twice over one connection, or to another church",
            tally.wrong
        ));
    }
    let broken: Vec<_> = all.iter().filter_map(|heard| heard.broken.as_deref()).collect();
    complaints.extend(ended(what, &broken));
}

/// Connections that ended by themselves, as a complaint.
pub(crate) fn ended(what: &str, reasons: &[impl AsRef<str>]) -> Option<String> {
    let first = reasons.first()?.as_ref();
    Some(format!("{what}: {} connections ended by themselves, the first: {first}", reasons.len()))
}

/// Whether somebody who resumed was told to read the history, although the stream kept everything.
pub(crate) fn check_continuity(what: &str, all: &[Heard], complaints: &mut Complaints) {
    let lost: u64 = all.iter().map(|heard| heard.lost_continuity).sum();
    if lost > 0 {
        complaints.push(format!("{what}: {lost} times a client that resumed was told to read the history"));
    }
}

/// The sum over all clients.
pub(crate) fn sum(all: &[Heard], of: impl Fn(&Heard) -> u64) -> u64 {
    all.iter().map(of).sum()
}

/// A share in per cent.
pub(crate) fn share(part: u64, whole: u64) -> String {
    format!("{:.3} %", part as f64 * 100.0 / whole.max(1) as f64)
}

/// Bytes in a table.
pub(crate) fn megabytes(bytes: u64) -> String {
    format!("{:.1}", bytes as f64 / 1024.0 / 1024.0)
}

/// The name of a database in a table.
pub(crate) fn name(database: Database) -> String {
    match database {
        Database::Sqlite => "SQLite".into(),
        Database::Postgres => "PostgreSQL".into(),
    }
}
