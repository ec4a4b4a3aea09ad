//! The usual design in Node beside the suite: the same webhooks, database server, clients and cores. The program is
//! in `tests/peer-node`; docs/benchmarks.md says what it does and what it leaves out.

mod deliveries;
mod node;
mod record;
mod waiting;
mod webhooks;

use deploy::stack::Database;
use tests::load::report::say;

use crate::environment::{Complaints, Environment};
use crate::rooms;
use crate::stage::Stage;

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Webhooks of each row, half of them `message.sent`, half `message.finalized`
    #[arg(long, default_value_t = 20_000, value_name = "N")]
    count: usize,
    /// Kept connections of the generator, each with one webhook at a time; several, comma separated
    #[arg(long, default_values_t = [64, 256], value_delimiter = ',', value_name = "N")]
    connections: Vec<usize>,
    #[command(flatten)]
    rooms: rooms::Options,
    /// Connections that wait
    #[arg(long, default_value_t = 5_000, value_name = "N")]
    idle: usize,
    /// Seconds of waiting; best a multiple of 25, the interval of pings
    #[arg(long, default_value_t = 25, value_name = "SECONDS")]
    seconds: u64,
    /// Connections of the peer to its database
    #[arg(long, default_value_t = 16, value_name = "N")]
    pool: u32,
}

/// Measures the peer on PostgreSQL, and the suite on each database.
pub(crate) async fn run(options: &Options, environment: &Environment) -> anyhow::Result<Complaints> {
    say(format_args!("\npeer: {}", node::version()?));
    let mut complaints = Complaints::new();
    webhooks::run(options, environment, &mut complaints).await?;
    let stage = Box::pin(Stage::start(environment, Database::Postgres)).await?;
    // First of all: memory that a gateway has used before is not new memory of its connections.
    waiting::run(options, environment, &stage, &mut complaints).await?;
    deliveries::run(options, &stage, &mut complaints).await?;
    stage.stop().await;
    Ok(complaints)
}
