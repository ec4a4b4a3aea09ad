//! A new stack for each measurement, and the steps that measurements share.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bytes::Bytes;
use common::store::{Audit, Store, StoreOptions};
use deploy::ports::Ports;
use deploy::services::{API, INGEST};
use deploy::stack::{Database, Stack, StackOptions};
use secrecy::SecretString;
use tempfile::TempDir;
use tests::load::filling::{self, Amount};
use tests::load::fleet::{Heard, Login, Tally};
use tests::load::http;
use tests::load::record::{self, Plan, Target, church_id};
use tests::load::report::say;
use tests::load::usage::{Meter, resident};
use tests::load::webhooks::{self, Report};

use crate::environment::{Complaints, Environment};

/// Longest wait until all recorded events are announced.
const QUIET_LIMIT: Duration = Duration::from_secs(120);
/// Validity of tokens, longer than any measurement.
const TOKEN_LIFE: Duration = Duration::from_secs(3_600);

/// Prefix of the gateways' process names.
pub(crate) const GATEWAY: &str = "realtime-gateway";
/// The broker's process name.
pub(crate) const BROKER: &str = "nats-server";
/// PostgreSQL's process name.
pub(crate) const POSTGRES: &str = "postgres";

/// Options of a stack.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Setup {
    pub(crate) gateways: usize,
    /// New sessions per second that a gateway accepts; 0 is no limit.
    pub(crate) connects_per_second: u32,
}

/// One gateway without a limit of new sessions, because the load generator connects faster than the default allows.
pub(crate) const PLAIN: Setup = Setup { gateways: 1, connects_per_second: 0 };

/// A running stack and a store on its database.
pub(crate) struct Stage {
    pub(crate) stack: Stack,
    pub(crate) store: Store,
    folder: TempDir,
}

impl Stage {
    /// Starts a stack with one gateway.
    pub(crate) async fn start(environment: &Environment, database: Database) -> anyhow::Result<Self> {
        Self::start_with(PLAIN, environment, database).await
    }

    /// Starts a stack with these options.
    pub(crate) async fn start_with(
        setup: Setup,
        environment: &Environment,
        database: Database,
    ) -> anyhow::Result<Self> {
        let mut folder = tempfile::Builder::new().prefix("b").tempdir_in(&environment.state)?;
        folder.disable_cleanup(environment.keep);
        let mut options = StackOptions::new(folder.path());
        options.database = Some(database);
        options.ports = Ports::Free;
        options.gateways = setup.gateways;
        let rate = setup.connects_per_second.to_string();
        // All clients come from one address.
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

    /// Moves the relay into webhook-ingest, so that CPU times are comparable. By default it runs in the service that
    /// started first.
    async fn relay_in_ingest(&mut self) -> anyhow::Result<()> {
        self.stack.terminate(API).await?;
        // An event announced now was announced by webhook-ingest.
        self.record(Plan { churches: 1, messages: 1, recipients: 1 }).await?;
        self.stack.start_process(API)?;
        self.stack.ready(API).await
    }

    /// Fills the empty database, and waits until all events are announced.
    pub(crate) async fn fill(&mut self, amount: Amount) -> anyhow::Result<()> {
        self.fill_alone(amount).await?;
        self.start_services().await
    }

    /// Fills the empty database. After it no service runs.
    pub(crate) async fn fill_alone(&mut self, amount: Amount) -> anyhow::Result<()> {
        for service in [API, INGEST] {
            self.stack.terminate(service).await?;
        }
        let begun = Instant::now();
        filling::fill(&self.stack.file().database, amount).await.context("the database can't be filled")?;
        say(format_args!(
            "filled with {} messages in {:.0} s",
            amount.messages,
            begun.elapsed().as_secs_f64()
        ));
        Ok(())
    }

    /// Starts the services after [`Stage::fill_alone`], and waits until all events are announced. The relay is in
    /// webhook-ingest.
    pub(crate) async fn start_services(&mut self) -> anyhow::Result<()> {
        self.stack.start_process(INGEST)?;
        self.stack.ready(INGEST).await?;
        self.quiet().await?;
        self.stack.start_process(API)?;
        self.stack.ready(API).await
    }

    /// Stops the stack and deletes its data, unless it is to be kept.
    pub(crate) async fn stop(self) {
        self.stack.stop().await;
        // Files that can't be deleted stay.
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

    /// Number of sockets according to the gateways' metrics.
    pub(crate) async fn sockets(&self) -> anyhow::Result<u64> {
        let mut sockets = 0.0;
        for gateway in &self.stack.file().ops.gateways {
            sockets += self.metric(gateway, "church_gateway_sockets").await?;
        }
        Ok(sockets as u64)
    }

    /// Number of events that the gateways have taken in.
    pub(crate) async fn taken_in(&self) -> anyhow::Result<u64> {
        let mut events = 0.0;
        for gateway in &self.stack.file().ops.gateways {
            events += self.metric(gateway, "church_gateway_events_total").await?;
        }
        Ok(events as u64)
    }

    /// Starts measuring the CPU time of all processes.
    pub(crate) fn meter(&self) -> Meter {
        Meter::start(&self.stack.file().processes)
    }

    /// Number of webhook-ingest's commits.
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

    /// Waits until the outbox is empty.
    pub(crate) async fn quiet(&self) -> anyhow::Result<()> {
        let quiet = async {
            while !self.store.waiting_events(1).await?.is_empty() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Ok(())
        };
        tokio::time::timeout(QUIET_LIMIT, quiet).await.context("the outbox does not get empty")?
    }

    /// One signed request per target.
    pub(crate) fn requests(&self, targets: &[Target], report: Report) -> anyhow::Result<Vec<Bytes>> {
        let (simulator, ingest) = (self.stack.simulator()?, self.ingest()?);
        let signer = simulator.signer();
        Ok(targets.iter().map(|target| webhooks::request(signer, ingest, target, report)).collect())
    }

    /// The requests of a mix: for each 500 recipients first `message.sent`, then `message.finalized`.
    pub(crate) fn mixed(&self, targets: &[Target]) -> anyhow::Result<Arc<[Bytes]>> {
        let mut requests = Vec::with_capacity(targets.len() * 2);
        for some in targets.chunks(500) {
            requests.extend(self.requests(some, Report::Sent)?);
            requests.extend(self.requests(some, Report::Delivered)?);
        }
        Ok(requests.into())
    }

    /// Logins of `each` clients in `churches` churches. The clients of a church are spread over the gateways.
    pub(crate) fn logins(&self, churches: usize, each: usize) -> anyhow::Result<Vec<Login>> {
        let gateways = self.gateways()?;
        let login = |number: usize| {
            let (church, mut gateways) = (number % churches, gateways.clone());
            let first = number / churches % gateways.len().max(1);
            gateways.rotate_left(first);
            let token = self.stack.token(&church_id(church), &format!("user-{number}"), TOKEN_LIFE)?;
            Ok(Login { gateways, church, token })
        };
        (0..churches * each).map(login).collect()
    }

    /// The audit. An unsound one is a complaint.
    pub(crate) async fn audit(&self, what: &str, complaints: &mut Complaints) -> anyhow::Result<Audit> {
        let audit = self.store.audit().await.context("the books can't be read")?;
        if !audit.is_sound() {
            complaints.push(format!("{what}: the books do not add up: {audit:?}"));
        }
        Ok(audit)
    }
}

/// Missed and repeated events and broken connections, as complaints.
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

/// Connections that the generator did not end, as a complaint.
pub(crate) fn ended(what: &str, reasons: &[impl AsRef<str>]) -> Option<String> {
    let first = reasons.first()?.as_ref();
    Some(format!("{what}: {} connections ended by themselves, the first: {first}", reasons.len()))
}

/// Resumes with `recovered: false`, as a complaint, because the stream kept everything.
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
