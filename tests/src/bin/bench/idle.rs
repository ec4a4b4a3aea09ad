//! What a connection costs that only waits, and what connecting costs.

use std::time::{Duration, Instant};

use tests::load::fleet::{Fleet, Watched};
use tests::load::report::{Table, rate};
use tests::load::usage::{GENERATOR, resident};

use crate::stage::{self, GATEWAY, Stage};
use crate::{Complaints, Place};

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Connections
    #[arg(long, default_value_t = 5_000, value_name = "N")]
    connections: usize,
    /// How long they wait; a ping comes every 25 seconds
    #[arg(long, default_value_t = 30, value_name = "SECONDS")]
    seconds: u64,
}

/// Clients in each church.
const EACH: usize = 10;
const HEADS: [&str; 9] = [
    "connections",
    "connects a second",
    "gateway CPU us a connect",
    "resident before MB",
    "after MB",
    "KB a connection",
    "idle: gateway CPU us a second and connection",
    "generator cores, connecting",
    "idle",
];

pub(crate) async fn run(options: &Options, place: &Place) -> anyhow::Result<Complaints> {
    let stage = Stage::start(place, place.any_database()).await?;
    let seats = stage.seats(options.connections.div_ceil(EACH), EACH)?;
    let (count, gateway) = (seats.len() as u64, stage.gateway_id()?);
    let before = resident(gateway);
    let (meter, begun) = (stage.meter(), Instant::now());
    let fleet = Fleet::connect(seats, &Watched::new([]), None).await?;
    let (connecting, took) = (meter.stop(), begun.elapsed());
    let meter = stage.meter();
    tokio::time::sleep(Duration::from_secs(options.seconds)).await;
    let idle = meter.stop();
    let after = resident(gateway);
    let all = fleet.leave().await;
    stage.stop().await;

    let mut table = Table::new("idle: connections that wait", &HEADS);
    table.row([
        count.to_string(),
        rate(count, took),
        format!("{:.0}", connecting.micros_per(GATEWAY, count)),
        megabytes(before),
        megabytes(after),
        format!("{:.1}", after.saturating_sub(before) as f64 / 1024.0 / count as f64),
        format!("{:.1}", idle.micros_per(GATEWAY, count) / idle.wall.as_secs_f64()),
        format!("{:.2}", connecting.cores(GENERATOR)),
        format!("{:.2}", idle.cores(GENERATOR)),
    ]);
    table.print(&[&connecting, &idle]);
    let mut complaints = Complaints::new();
    stage::check("idle", &all, Default::default(), &mut complaints);
    Ok(complaints)
}

fn megabytes(bytes: u64) -> String {
    format!("{:.1}", bytes as f64 / 1024.0 / 1024.0)
}
