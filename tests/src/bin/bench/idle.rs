//! The cost of an idle connection and of connecting.

use std::time::{Duration, Instant};

use tests::load::fleet::{Conduct, Fleet, Login, Watched};
use tests::load::report::{Table, rate};
use tests::load::usage::{GENERATOR, Used};

use crate::environment::{Complaints, Environment};
use crate::server::Server;
use crate::stage::{self, PLAIN, Setup, Stage};

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Connections [default: 5 000 on one gateway, then 18 000 on two]
    #[arg(long, value_name = "N")]
    connections: Option<usize>,
    /// Gateways
    #[arg(long, value_name = "N")]
    gateways: Option<usize>,
    /// Seconds of waiting; best a multiple of 25, the interval of pings
    #[arg(long, default_value_t = 50, value_name = "SECONDS")]
    seconds: u64,
}

/// Default connections and gateways.
const SHAPES: [(usize, usize); 2] = [(5_000, 1), (18_000, 2)];
/// Clients in each church.
const EACH: usize = 10;
/// Pause between connecting and waiting. Pings are as far apart as the connects were, so none of them comes when the
/// waiting begins.
const REST: Duration = Duration::from_secs(3);
const HEADS: [&str; 12] = [
    "gateways",
    "connections",
    "held",
    "connects a second",
    "gateway CPU us a connect",
    "resident before MB",
    "after MB",
    "KB a connection",
    "idle: gateway CPU us a second and connection",
    "a ping",
    "generator cores, connecting",
    "idle",
];

pub(crate) async fn run(options: &Options, environment: &Environment) -> anyhow::Result<Complaints> {
    let shapes = match (options.connections, options.gateways) {
        (None, None) => SHAPES.to_vec(),
        (connections, gateways) => vec![(connections.unwrap_or(SHAPES[0].0), gateways.unwrap_or(1).max(1))],
    };
    let title = format!("idle: connections that wait for {} s", options.seconds);
    let (mut table, mut runs, mut complaints) = (Table::new(title, &HEADS), Vec::new(), Complaints::new());
    for (wanted, gateways) in shapes {
        let connections = environment.affordable(wanted, gateways);
        let stage =
            Stage::start_with(Setup { gateways, ..PLAIN }, environment, environment.any_database()).await?;
        let waited = wait(&stage, connections, Duration::from_secs(options.seconds), &mut complaints).await?;
        stage.stop().await;
        table.row(row(gateways, wanted, &waited));
        runs.extend([waited.connecting, waited.idle]);
    }
    table.print(&runs.iter().collect::<Vec<_>>());
    Ok(complaints)
}

/// The result of waiting.
pub(crate) struct Waited {
    pub(crate) server: &'static str,
    held: u64,
    took: Duration,
    pub(crate) connecting: Used,
    pub(crate) idle: Used,
    before: u64,
    after: u64,
    pings: u64,
}

impl Waited {
    /// Microseconds of CPU per ping, including the gateway's other work meanwhile.
    pub(crate) fn micros_per_ping(&self) -> f64 {
        self.idle.micros_per(self.server, self.pings)
    }

    /// What is said of every server.
    pub(crate) fn figures(&self) -> [String; 7] {
        let Self { server, held, took, connecting, idle, before, after, .. } = self;
        [
            held.to_string(),
            rate(*held, *took),
            format!("{:.0}", connecting.micros_per(server, *held)),
            stage::megabytes(*before),
            stage::megabytes(*after),
            format!("{:.1}", after.saturating_sub(*before) as f64 / 1024.0 / (*held).max(1) as f64),
            format!("{:.2}", idle.micros_per(server, *held) / idle.wall.as_secs_f64()),
        ]
    }
}

/// Connects this many clients and lets them wait.
pub(crate) async fn wait(
    stage: &Stage,
    connections: usize,
    how_long: Duration,
    complaints: &mut Complaints,
) -> anyhow::Result<Waited> {
    let gateways = Server::gateways(stage, logins(stage, connections)?);
    wait_at(gateways, how_long, complaints).await
}

/// Logins of this many clients, ten in each church.
pub(crate) fn logins(stage: &Stage, connections: usize) -> anyhow::Result<Vec<Login>> {
    let mut logins = stage.logins(connections.div_ceil(EACH), EACH)?;
    logins.truncate(connections);
    Ok(logins)
}

/// Connects these clients to a server and lets them wait.
pub(crate) async fn wait_at(
    server: Server,
    how_long: Duration,
    complaints: &mut Complaints,
) -> anyhow::Result<Waited> {
    let before = server.memory();
    let (meter, begun) = (server.meter(), Instant::now());
    let fleet = Fleet::connect(server.logins.clone(), &Watched::new([]), Conduct::Stay).await?;
    let (connecting, took) = (meter.stop(), begun.elapsed());
    tokio::time::sleep(REST).await;
    let meter = server.meter();
    tokio::time::sleep(how_long).await;
    let idle = meter.stop();
    let after = server.memory();
    let all = fleet.leave().await;
    stage::check(&format!("idle at {}", server.name), &all, Default::default(), complaints);
    let held = all.iter().filter(|heard| heard.broken.is_none()).count() as u64;
    // The first ping comes with the connection.
    let pings = stage::sum(&all, |heard| heard.traffic.pings.saturating_sub(1));
    Ok(Waited { server: server.name, held, took, connecting, idle, before, after, pings })
}

fn row(gateways: usize, wanted: usize, waited: &Waited) -> Vec<String> {
    let mut row = vec![gateways.to_string(), wanted.to_string()];
    row.extend(waited.figures());
    row.push(format!("{:.0}", waited.micros_per_ping()));
    row.push(format!("{:.2}", waited.connecting.cores(GENERATOR)));
    row.push(format!("{:.2}", waited.idle.cores(GENERATOR)));
    row
}
