//! The memory that a gateway keeps after clients have left.

use std::time::Duration;

use anyhow::Context as _;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::json;
use tests::load::fleet::Login;
use tests::load::report::Table;
use tests::load::socketio::Client;

use crate::environment::{Complaints, Environment};
use crate::stage::{self, Stage};

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Connects and disconnects in each round
    #[arg(long, default_value_t = 1_000, value_name = "N")]
    connections: usize,
    /// Rounds
    #[arg(long, default_value_t = 20, value_name = "N")]
    rounds: usize,
}

/// The first rounds have a row each, the others one row per this many.
const EACH_ROW: usize = 5;

/// Clients in each church.
const EACH: usize = 10;
/// Clients that connect at the same time.
const CONNECTING: usize = 64;
/// Longest wait for memory that is freed late.
const REST: Duration = Duration::from_secs(1);
/// Longest wait until all sockets are gone.
const LIMIT: Duration = Duration::from_secs(60);
const HEADS: [&str; 5] = [
    "connects and disconnects",
    "resident MB while connected",
    "after they left",
    "KB more than in the row above",
    "sockets left",
];

pub(crate) async fn run(options: &Options, environment: &Environment) -> anyhow::Result<Complaints> {
    let each_round = environment.affordable(options.connections, 1);
    let stage = Stage::start(environment, environment.any_database()).await?;
    let title = format!(
        "churn: memory of the gateway, {each_round} users connect and leave in each round, half with a close packet, \
         half without"
    );
    let mut table = Table::new(title, &HEADS);
    let mut before = stage.gateway_memory();
    table.row(["0".into(), "".into(), stage::megabytes(before), "".into(), "0".into()]);
    // No user and no church comes twice, so data that is kept of anyone shows.
    let logins = stage.logins((each_round * options.rounds).div_ceil(EACH), EACH)?;
    let mut complaints = Complaints::new();
    for (round, logins) in logins.chunks(each_round).enumerate() {
        let connected = come_and_go(&stage, logins).await?;
        let left = wait_until_empty(&stage).await?;
        if left > 0 {
            complaints.push(format!("churn: {left} sockets of clients that left are still there"));
        }
        let rounds = round + 1;
        if rounds > EACH_ROW && rounds % EACH_ROW > 0 {
            continue;
        }
        let after = stage.gateway_memory();
        table.row([
            (rounds * each_round).to_string(),
            stage::megabytes(connected),
            stage::megabytes(after),
            format!("{:+.0}", (after as f64 - before as f64) / 1024.0),
            left.to_string(),
        ]);
        before = after;
    }
    stage.stop().await;
    table.print(&[]);
    Ok(complaints)
}

/// Connects and disconnects clients. Returns the memory while all are connected.
async fn come_and_go(stage: &Stage, logins: &[Login]) -> anyhow::Result<u64> {
    let clients: Vec<Client> =
        stream::iter(logins).map(come).buffer_unordered(CONNECTING).try_collect().await?;
    let memory = stage.gateway_memory();
    for (number, client) in clients.into_iter().enumerate() {
        if number % 2 == 0 {
            client.leave().await?;
        }
    }
    Ok(memory)
}

async fn come(login: &Login) -> anyhow::Result<Client> {
    let address = *login.gateways.first().context("there is no gateway")?;
    let mut client = Client::connect(address, &json!({"token": login.token})).await?;
    client.next().await?.context("the connection ended before the welcome")?;
    Ok(client)
}

async fn wait_until_empty(stage: &Stage) -> anyhow::Result<u64> {
    let until = std::time::Instant::now() + LIMIT;
    while stage.sockets().await? > 0 && std::time::Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    tokio::time::sleep(REST).await;
    stage.sockets().await
}
