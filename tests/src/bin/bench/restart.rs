//! Time until all clients are back, after a gateway was killed and restarted, and after a gateway was stopped while
//! another one runs. Messages finish meanwhile, and no client misses one.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ::tests::load::fleet::{Conduct, Fleet, Heard, Return, Tally, Watched};
use ::tests::load::post;
use ::tests::load::record::Plan;
use ::tests::load::report::{Latencies, Table};
use ::tests::load::usage::{GENERATOR, Used};
use ::tests::load::webhooks::Report;
use bytes::Bytes;
use deploy::services;
use deploy::stack::Stack;

use crate::environment::{Complaints, Environment};
use crate::stage::{self, Setup, Stage};

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Clients, all on the gateway that ends
    #[arg(long, default_value_t = 5_000, value_name = "N")]
    clients: usize,
    /// Webhooks a second, each of which finishes a message
    #[arg(long, default_value_t = 50, value_name = "N")]
    rate: u32,
    /// Seconds of webhooks; the gateway ends after five of them
    #[arg(long, default_value_t = 25, value_name = "SECONDS")]
    seconds: u32,
    /// Gateways that are killed at once, with the clients spread over them
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=9))]
    gateways: u16,
    /// Seconds between the kill and the restart
    #[arg(long, default_value_t = 1, value_name = "SECONDS")]
    down: u64,
    /// New sessions per second that a gateway accepts (default of the gateway: 3000); 0 is no limit
    #[arg(long, default_value_t = 3_000, value_name = "SESSIONS")]
    connects_per_second: u32,
}

/// How a gateway ends.
#[derive(Debug, Clone, Copy)]
enum How {
    /// SIGKILL, then a restart.
    Killed,
    /// SIGTERM, while another gateway runs.
    Replaced,
}

/// Times of the events of a run.
struct Ended {
    at: Instant,
    /// Time until the gateway was ready again or had stopped.
    done_after: Duration,
}

/// The result of a run.
struct Outcome {
    all: Vec<Heard>,
    tally: Tally,
    used: Used,
    ended: Ended,
}

/// Clients in each church.
const EACH: usize = 10;
/// Time between the last connect and the gateway's end.
const LEAD: Duration = Duration::from_secs(5);
/// Longest wait for late events.
const PATIENCE: Duration = Duration::from_secs(60);
/// The rate of the first connects, as a share of the sessions that a gateway accepts.
const SHARE: f64 = 0.9;
const HEADS: [&str; 16] = [
    "gateway",
    "clients",
    "ready again / stopped after s",
    "back",
    "half back after s",
    "99 %",
    "all",
    "attempts refused",
    "most let in within a second",
    "changes while away",
    "catching up p50 ms",
    "p99 ms",
    "deliveries missed",
    "repeated",
    "told to read history",
    "generator cores",
];

pub(crate) async fn run(options: &Options, environment: &Environment) -> anyhow::Result<Complaints> {
    let title = format!(
        "restart: {} webhooks a second, clients come back as the stock client does (1 s, doubling to 5 s, give or \
         take half); a gateway lets {} in a second",
        options.rate, options.connects_per_second
    );
    let (mut table, mut runs, mut complaints) = (Table::new(title, &HEADS), Vec::new(), Complaints::new());
    for (how, name) in
        [(How::Killed, "killed, started again"), (How::Replaced, "told to stop, another one there")]
    {
        let outcome = measure(options, environment, how).await?;
        let Outcome { all, tally, .. } = &outcome;
        let what = format!("restart, {name}");
        stage::check(&what, all, *tally, &mut complaints);
        stage::check_continuity(&what, all, &mut complaints);
        let away = all.iter().filter(|heard| heard.returns.is_empty()).count();
        if away > 0 {
            complaints.push(format!("{what}: {away} clients did not come back"));
        }
        table.row(row(name, &outcome));
        runs.push(outcome.used);
    }
    table.print(&runs.iter().collect::<Vec<_>>());
    Ok(complaints)
}

async fn measure(options: &Options, environment: &Environment, how: How) -> anyhow::Result<Outcome> {
    // Those that end, and all that run.
    let (ending, gateways) = match how {
        How::Killed => (usize::from(options.gateways), usize::from(options.gateways)),
        How::Replaced => (1, 2),
    };
    let setup = Setup { gateways, connects_per_second: options.connects_per_second };
    let mut stage = Stage::start_with(setup, environment, environment.any_database()).await?;
    let clients = environment.affordable(options.clients, ending);
    let churches = clients.div_ceil(EACH);
    let messages = (options.rate * options.seconds) as usize;
    let targets = stage.record(Plan { churches, messages, recipients: 1 }).await?;
    let requests: Arc<[Bytes]> = stage.requests(&targets, Report::Delivered)?.into();
    let watched = Watched::new(targets.iter().map(|target| (target.church, target.message)));
    let (mut logins, gateways) = (stage.logins(churches, EACH)?, stage.gateways()?);
    logins.truncate(clients);
    for (number, login) in logins.iter_mut().enumerate() {
        login.gateways.clone_from(&gateways);
        login.gateways.rotate_left(number % ending);
    }
    let expected = logins.iter().map(|login| watched.of_church(login.church).len() as u64).sum();
    let pace = match options.connects_per_second {
        0 => f64::INFINITY,
        limit => f64::from(limit) * SHARE * ending as f64,
    };
    let fleet = Fleet::connect_at(pace, logins, &watched, Conduct::Return).await?;
    let meter = stage.meter();
    let posting = post::at_rate(stage.ingest()?, &requests, f64::from(options.rate), &watched);
    let end = end(&mut stage.stack, how, ending, Duration::from_secs(options.down));
    let (posted, ended) = tokio::join!(posting, end);
    let (_, ended) = (posted?, ended?);
    watched.wait_for_returns(clients as u64, PATIENCE).await;
    watched.wait(expected, PATIENCE).await;
    let used = meter.stop();
    let all = fleet.leave().await;
    stage.stop().await;
    let tally = Tally::of(&all, &watched);
    Ok(Outcome { all, tally, used, ended })
}

async fn end(stack: &mut Stack, how: How, gateways: usize, down: Duration) -> anyhow::Result<Ended> {
    tokio::time::sleep(LEAD).await;
    let at = Instant::now();
    match how {
        How::Killed => {
            let names: Vec<String> = (1..=gateways).map(services::gateway).collect();
            for name in &names {
                stack.kill(name).await?;
            }
            tokio::time::sleep(down).await;
            for name in &names {
                stack.start_process(name)?;
            }
            for name in &names {
                stack.ready(name).await?;
            }
        }
        How::Replaced => drop(stack.terminate(&services::gateway(1)).await?),
    }
    Ok(Ended { at, done_after: at.elapsed() })
}

fn row(name: &str, outcome: &Outcome) -> Vec<String> {
    let Outcome { all, tally, used, ended } = outcome;
    let returns: Vec<&Return> = all.iter().filter_map(|heard| heard.returns.first()).collect();
    let mut back: Vec<Duration> =
        returns.iter().map(|back| back.caught_up.saturating_duration_since(ended.at)).collect();
    back.sort_unstable();
    let mut took = Latencies::default();
    returns.iter().for_each(|back| took.record(back.took()));
    vec![
        name.into(),
        all.len().to_string(),
        seconds(Some(&ended.done_after)),
        stage::share(back.len() as u64, all.len() as u64),
        // The quantile of all clients: a client that is not back makes it infinite.
        seconds(back.get((all.len() / 2).saturating_sub(1))),
        seconds(back.get((all.len() * 99).div_ceil(100).saturating_sub(1))),
        seconds(back.get(all.len().saturating_sub(1))),
        stage::sum(all, |heard| heard.refused).to_string(),
        most_in_a_second(returns.iter().map(|back| back.connected).collect()).to_string(),
        returns.iter().map(|back| back.missed).sum::<usize>().to_string(),
        took.at(0.5),
        took.at(0.99),
        tally.missing().to_string(),
        tally.repeated.to_string(),
        stage::sum(all, |heard| heard.lost_continuity).to_string(),
        format!("{:.2}", used.cores(GENERATOR)),
    ]
}

fn seconds(time: Option<&Duration>) -> String {
    time.map_or("never".into(), |time| format!("{:.1}", time.as_secs_f64()))
}

/// The highest number within one second, whenever that second begins.
fn most_in_a_second(mut times: Vec<Instant>) -> usize {
    times.sort_unstable();
    let ends =
        times.iter().map(|begin| times.partition_point(|time| *time < *begin + Duration::from_secs(1)));
    ends.enumerate().map(|(begin, end)| end - begin).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_busiest_second_may_begin_anywhere() {
        let begin = Instant::now();
        let times = [0, 600, 700, 1_500, 1_700, 3_000].map(|millis| begin + Duration::from_millis(millis));
        assert_eq!(most_in_a_second(times.to_vec()), 3);
        assert_eq!(most_in_a_second(Vec::new()), 0);
    }
}
