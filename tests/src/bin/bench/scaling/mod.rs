//! A simulation: how much each part of an installation has to do in the busiest hour, for several sizes and numbers of
//! parts. Nothing is measured here. What one piece of work costs is an option; docs/benchmarks.md has figures.

mod day;
mod message;

use ::tests::load::report::{Table, say};

use crate::environment::Complaints;
use day::{Busy, Day};

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Messages a day, each to several recipients; several, comma separated
    #[arg(long, value_delimiter = ',', default_values_t = [10_000, 1_000_000, 100_000_000], value_name = "N")]
    messages: Vec<u64>,
    /// Parts that the churches are divided into; several, comma separated
    #[arg(long, value_delimiter = ',', default_values_t = [1, 4, 16], value_name = "N")]
    parts: Vec<u32>,
    /// Recipients of a message, on average
    #[arg(long, default_value_t = 10, value_name = "N")]
    recipients: u32,
    /// Messages of a church a day, on average
    #[arg(long, default_value_t = 10, value_name = "N")]
    each: u64,
    /// Clients of a church that are connected in the busiest hour, on average
    #[arg(long, default_value_t = 3, value_name = "N")]
    clients: u64,
    /// The busiest hour's share of a day, in per cent
    #[arg(long, default_value_t = 20, value_name = "PERCENT")]
    busiest: u64,
    /// Seconds of the busiest hour that are simulated
    #[arg(long, default_value_t = 30, value_name = "SECONDS")]
    seconds: u64,
    /// Events a second that one relay announces into one stream
    #[arg(long, default_value_t = 15_000, value_name = "N")]
    relay: u64,
    /// CPU of taking in an event in a gateway, in microseconds
    #[arg(long, default_value_t = 30.0, value_name = "US")]
    intake: f64,
    /// CPU of delivering an event to one client, in microseconds
    #[arg(long, default_value_t = 7.0, value_name = "US")]
    delivery: f64,
    /// CPU of a webhook in webhook-ingest and database together, in microseconds
    #[arg(long, default_value_t = 165.0, value_name = "US")]
    webhook: f64,
}

const COUNTS: [&str; 8] = [
    "messages a day",
    "churches",
    "messages a second",
    "requests to Telnyx",
    "webhooks",
    "events",
    "deliveries",
    "largest church's events",
];
const PARTS: [&str; 9] = [
    "messages a day",
    "parts",
    "events a second, busiest part",
    "of an even share",
    "of one relay's limit",
    "cores for webhooks, busiest part",
    "cores to take in events: a gateway of all parts",
    "of one part",
    "cores to deliver, all gateways",
];

/// Prints what each part has to do.
pub(crate) fn run(options: &Options) -> Complaints {
    let title =
        format!("scaling: what happens in a second of the busiest hour ({} % of a day)", options.busiest);
    let mut counts = Table::new(title, &COUNTS);
    let mut parts = Table::new("scaling: the same, divided by church", &PARTS);
    for messages in &options.messages {
        let busy = day(options, *messages).busy(&options.parts);
        counts.row(count_row(*messages, &busy));
        for (number, most) in options.parts.iter().zip(&busy.busiest_parts) {
            parts.row(part_row(options, *messages, &busy, (*number, *most)));
        }
    }
    counts.print(&[]);
    parts.print(&[]);
    say(
        "Counted by simulation, with sizes of churches, times of receipts and the relay's interval as described in \
         docs/scaling.md; costs are those of the options.",
    );
    Complaints::new()
}

fn day(options: &Options, messages: u64) -> Day {
    Day {
        messages,
        churches: (messages / options.each.max(1)).max(1),
        recipients: options.recipients,
        clients: options.clients,
        busiest: options.busiest,
        seconds: options.seconds.max(1),
    }
}

fn count_row(messages: u64, busy: &Busy) -> Vec<String> {
    let counts =
        [busy.messages, busy.requests, busy.webhooks, busy.events, busy.deliveries, busy.largest_church];
    let mut row = vec![messages.to_string(), busy.churches.to_string()];
    row.extend(counts.map(|count| a_second(busy, count)));
    row
}

fn part_row(options: &Options, messages: u64, busy: &Busy, (parts, most): (u32, u64)) -> Vec<String> {
    let second = |count: u64| count as f64 / busy.seconds as f64;
    let share = most as f64 / busy.events.max(1) as f64;
    let cores = |count: f64, micros: f64| format!("{:.2}", count * micros / 1e6);
    vec![
        messages.to_string(),
        parts.to_string(),
        a_second(busy, most),
        format!("{:.2}x", share * f64::from(parts)),
        format!("{:.0} %", second(most) * 100.0 / options.relay.max(1) as f64),
        cores(second(busy.webhooks) * share, options.webhook),
        cores(second(busy.events), options.intake),
        cores(second(most), options.intake),
        cores(second(busy.deliveries), options.delivery),
    ]
}

fn a_second(busy: &Busy, count: u64) -> String {
    let rate = count as f64 / busy.seconds as f64;
    if rate < 10.0 { format!("{rate:.2}") } else { format!("{rate:.0}") }
}
