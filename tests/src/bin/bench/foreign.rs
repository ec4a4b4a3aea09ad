//! Another Socket.IO server that already runs, for comparison: the cost of its connections, and the events that it
//! delivers by itself.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::Value;
use tests::load::http;
use tests::load::report::{Table, rate};
use tests::load::socketio::Client;
use tests::load::usage::{GENERATOR, Meter, resident};
use tokio::task::JoinSet;

use crate::environment::{Complaints, Environment};
use crate::stage;

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The server's address, for instance `http://127.0.0.1:3000`
    #[arg(long, value_name = "URL")]
    url: String,
    /// The server's process id, for its memory and CPU
    #[arg(long, value_name = "ID")]
    process: Option<u32>,
    /// The `auth` of every client, in JSON
    #[arg(long, default_value = "{}", value_name = "JSON", value_parser = json)]
    auth: Value,
    /// Connections
    #[arg(long, default_value_t = 5_000, value_name = "N")]
    connections: usize,
    /// Seconds of listening
    #[arg(long, default_value_t = 50, value_name = "SECONDS")]
    seconds: u64,
}

/// Clients that connect at the same time.
const CONNECTING: usize = 64;
/// The server's name in the tables.
const SERVER: &str = "server";
const HEADS: [&str; 11] = [
    "connections",
    "held",
    "connects a second",
    "server CPU us a connect",
    "KB a connection",
    "events got",
    "a second",
    "server CPU us an event",
    "us a second and connection",
    "generator cores, connecting",
    "listening",
];

pub(crate) async fn run(options: &Options, environment: &Environment) -> anyhow::Result<Complaints> {
    let address = http::address_of(&options.url)?;
    let count = environment.affordable(options.connections, 1);
    let ids: BTreeMap<_, _> = options.process.iter().map(|id| (SERVER.to_owned(), *id)).collect();
    let memory = || options.process.map_or(0, resident);
    let (before, meter, begun) = (memory(), Meter::start(&ids), Instant::now());
    let clients: Vec<Client> = stream::iter(0..count)
        .map(|_| Client::connect(address, &options.auth))
        .buffer_unordered(CONNECTING)
        .try_collect()
        .await
        .context("a client could not connect")?;
    let (connecting, took) = (meter.stop(), begun.elapsed());
    let (events, mut listeners) = (Arc::new(AtomicU64::new(0)), JoinSet::new());
    let meter = Meter::start(&ids);
    for client in clients {
        listeners.spawn(listen(client, events.clone()));
    }
    tokio::time::sleep(Duration::from_secs(options.seconds)).await;
    let (listening, after) = (meter.stop(), memory());
    let mut ended = Vec::new();
    while let Some(end) = listeners.try_join_next() {
        ended.push(end?);
    }
    let (events, held) = (events.load(Ordering::Relaxed), (count - ended.len()) as u64);
    let mut table = Table::new(format!("foreign: {}", options.url), &HEADS);
    table.row([
        count.to_string(),
        held.to_string(),
        rate(count as u64, took),
        format!("{:.0}", connecting.micros_per(SERVER, count as u64)),
        format!("{:.1}", after.saturating_sub(before) as f64 / 1024.0 / held.max(1) as f64),
        events.to_string(),
        rate(events, listening.wall),
        format!("{:.1}", listening.micros_per(SERVER, events)),
        format!("{:.2}", listening.micros_per(SERVER, held) / listening.wall.as_secs_f64()),
        format!("{:.2}", connecting.cores(GENERATOR)),
        format!("{:.2}", listening.cores(GENERATOR)),
    ]);
    table.print(&[&connecting, &listening]);
    Ok(stage::ended("foreign", &ended).into_iter().collect())
}

fn json(text: &str) -> serde_json::Result<Value> {
    serde_json::from_str(text)
}

/// Counts events until the connection ends. Returns the reason.
async fn listen(mut client: Client, events: Arc<AtomicU64>) -> String {
    loop {
        match client.next().await {
            Ok(Some(_)) => events.fetch_add(1, Ordering::Relaxed),
            Ok(None) => return "the server closed".into(),
            Err(error) => return format!("{error:#}"),
        };
    }
}
