//! `ops events`: the newest events of a church, as the stream has them.

use std::fmt::{self, Display};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use async_nats::jetstream::consumer::{DeliverPolicy, pull};
use async_nats::jetstream::stream::Stream;
use common::event::timestamp;
use common::subject::{self, ChurchId};
use futures_util::StreamExt as _;
use serde::Serialize;
use serde_json::Value;
use time::OffsetDateTime;

use super::broker::BrokerOptions;
use super::events::{self, Reading, consumer, reading};
use super::output::{Output, moment, table};

/// Sequences of the stream that are looked at first; four times as many each time, while there are too few events.
const FIRST_LOOK: u64 = 256;
/// Most events that one look may read.
const MOST: u64 = 2_000;
/// Longest wait for an answer of the broker.
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(clap::Args)]
pub(super) struct NewestEvents {
    #[command(flatten)]
    broker: BrokerOptions,
    /// The church
    #[arg(long)]
    church: ChurchId,
    /// Most events to list
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=500))]
    limit: u16,
}

#[derive(Serialize)]
#[serde(transparent)]
pub(super) struct Report(Vec<Newest>);

/// An event, and its place in the stream.
#[derive(Serialize)]
struct Newest {
    sequence: u64,
    #[serde(with = "timestamp")]
    at: OffsetDateTime,
    event: Value,
}

pub(super) async fn run(options: NewestEvents, output: Output) -> anyhow::Result<ExitCode> {
    let stream = events::stream(options.broker.connect().await?).await?;
    output.report(&read(&stream, &options.church, options.limit).await?)?;
    Ok(ExitCode::SUCCESS)
}

/// The newest events of a church, the newest last. A church whose events come faster than they can be read is shown its
/// last moments.
pub(super) async fn read(stream: &Stream, church: &ChurchId, limit: u16) -> anyhow::Result<Report> {
    let state = stream.get_info().await.context("can't read the stream CHURCH")?.state;
    let (mut look, mut too_few, mut too_many) = (FIRST_LOOK, 0, None);
    loop {
        let start = state.last_sequence.saturating_sub(look).max(state.first_sequence).max(1);
        let from = DeliverPolicy::ByStartSequence { start_sequence: start };
        let config = pull::Config { filter_subject: subject::every(church), ..reading(from) };
        let (reader, name) = consumer(stream, config).await?;
        let pending = reader.cached_info().num_pending;
        let is_enough = pending >= u64::from(limit) || start <= state.first_sequence.max(1);
        let found = if is_enough && pending <= MOST { Some(fetched(&reader, pending).await) } else { None };
        // The broker removes it later if this fails.
        let _ = stream.delete_consumer(&name).await;
        match found {
            Some(found) => {
                let found = found?;
                let first = found.len().saturating_sub(usize::from(limit));
                return Ok(Report(found.into_iter().skip(first).collect()));
            }
            None if is_enough => too_many = Some(look),
            None => too_few = look,
        }
        look = too_many.map_or(too_few * 4, |many: u64| too_few + (many - too_few) / 2);
    }
}

async fn fetched(reader: &Reading, pending: u64) -> anyhow::Result<Vec<Newest>> {
    let mut found = Vec::new();
    if pending == 0 {
        return Ok(found);
    }
    let wanted = usize::try_from(pending).unwrap_or(usize::MAX);
    let fetch = reader.fetch().max_messages(wanted).expires(PATIENCE);
    let mut messages = fetch.messages().await.context("can't read the stream CHURCH")?;
    while let Some(stored) = messages.next().await {
        let stored = stored.map_err(|error| anyhow::anyhow!("can't read the stream CHURCH: {error}"))?;
        let info = stored.info().map_err(|error| anyhow::anyhow!("an answer without place: {error}"))?;
        let event = serde_json::from_slice(&stored.payload).unwrap_or(Value::Null);
        found.push(Newest { sequence: info.stream_sequence, at: info.published, event });
    }
    Ok(found)
}

impl Newest {
    fn row(&self) -> [String; 4] {
        let text = |name: &str| self.event[name].as_str().unwrap_or_default().to_owned();
        let version = self.event["version"].as_i64().map(|version| format!(", version {version}"));
        let kind = format!("{}{}", text("type"), version.unwrap_or_default());
        [
            moment(self.at),
            self.sequence.to_string(),
            kind,
            format!("{} {}", text("messageId"), text("status")),
        ]
    }
}

impl Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return writeln!(out, "the stream holds no event of this church");
        }
        table(out, &self.0.iter().map(Newest::row).collect::<Vec<_>>())
    }
}
