//! `ops replay`: stored events once more to the browsers of a church.

use std::process::ExitCode;

use anyhow::{Context as _, anyhow, ensure};
use async_nats::jetstream::consumer::DeliverPolicy;
use async_nats::jetstream::stream::Stream;
use common::event::timestamp;
use common::service::next_signal;
use common::subject::{self, ChurchId};
use futures_util::TryStreamExt as _;
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use super::broker::BrokerOptions;
use super::events;
use super::message::SKEW;
use super::output::{Output, counted};
use super::progress::Progress;
use super::replays::{self, Replay, Until};
use super::times::since;

#[derive(clap::Args)]
pub(super) struct ReplayEvents {
    #[command(flatten)]
    broker: BrokerOptions,
    /// The church
    #[arg(long, required_unless_present = "clean")]
    church: Option<ChurchId>,
    /// Replay what is stored since a time, as 2026-11-22T20:15:00Z, or since so long ago: 90s, 15m, 6h, 3d
    #[arg(long, value_name = "TIME", value_parser = since, required_unless_present_any = ["clean", "message"])]
    since: Option<OffsetDateTime>,
    /// Only the events of one message, since it was made or since a time
    #[arg(long, value_name = "ID", value_parser = message_id)]
    message: Option<Uuid>,
    /// Most events per second; a gateway sends at most 200 of a church
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=200))]
    rate: u32,
    /// Remove every consumer that replays to the gateways, running replays included, and replay nothing
    #[arg(long, conflicts_with_all = ["church", "since", "message"])]
    clean: bool,
}

pub(super) async fn run(options: ReplayEvents, output: Output) -> anyhow::Result<ExitCode> {
    let client = options.broker.connect().await?;
    let since = options.since.or_else(|| options.message.as_ref().and_then(made_at));
    let (Some(church), Some(since)) = (options.church, since) else {
        return clean(&events::stream(client).await?, output).await;
    };
    let asked = Asked { church, since, message: options.message, rate: options.rate };
    let progress = Progress::printed(output, "replayed");
    let work = asked.run(client, &progress);
    tokio::pin!(work);
    let said = tokio::select! {
        said = &mut work => said,
        stopped = next_signal() => {
            stopped?;
            progress.stop.cancel();
            work.await
        }
    };
    output.say(said?)?;
    Ok(ExitCode::SUCCESS)
}

fn message_id(text: &str) -> Result<Uuid, String> {
    let id: Option<Uuid> = text.parse().ok();
    id.filter(|id| made_at(id).is_some())
        .ok_or_else(|| "write the id of a message, as `ops message` shows it".into())
}

/// When a message was made, by its id, with room for clocks that differ.
fn made_at(id: &Uuid) -> Option<OffsetDateTime> {
    let (seconds, _) = id.get_timestamp()?.to_unix();
    OffsetDateTime::from_unix_timestamp(i64::try_from(seconds).ok()?).ok()?.checked_sub(SKEW)
}

/// Which events are replayed.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    pub(super) church: ChurchId,
    pub(super) since: OffsetDateTime,
    /// Only the events of one message.
    pub(super) message: Option<Uuid>,
    /// Events per second.
    pub(super) rate: u32,
}

impl Asked {
    /// Replays them until the last one, or until the work is to stop. Removes the consumer in every case. Says what that
    /// came to.
    pub(super) async fn run(
        &self,
        client: async_nats::Client,
        progress: &Progress,
    ) -> anyhow::Result<String> {
        let Self { church, since, message, rate } = self;
        let stream = events::stream(client.clone()).await?;
        ensure_known(&stream, church).await?;
        let spans = match message {
            None => vec![(DeliverPolicy::ByStartTime { start_time: *since }, Until::Now)],
            Some(message) => of_message(&stream, church, *message, *since).await?,
        };
        let mut replay = Replay::new(client, stream, church.clone(), *rate, progress.clone());
        let ended = tokio::select! {
            ended = all(&mut replay, spans) => ended,
            () = progress.stop.cancelled() => Err(anyhow!("stopped")),
        };
        replay.remove().await?;
        let delivered = replay.delivered;
        ended.with_context(|| format!("replayed {delivered} events, then ended; the consumer is removed"))?;
        let events = counted(i64::try_from(delivered).unwrap_or(i64::MAX), "event");
        Ok(format!("replayed {events} of {church}"))
    }
}

/// Fails if the stream holds nothing of a church: its id may be mistyped.
async fn ensure_known(stream: &Stream, church: &ChurchId) -> anyhow::Result<()> {
    let subjects = stream.info_with_subjects(subject::every(church)).await;
    let subjects = subjects.context("can't ask the stream for the church's events")?.try_next().await;
    let any = subjects.context("can't ask the stream for the church's events")?;
    ensure!(any.is_some(), "the stream holds no event of the church {church}; `ops churches` lists all");
    Ok(())
}

/// Replays one span after the other, each by a consumer of the same name.
async fn all(replay: &mut Replay, spans: Vec<(DeliverPolicy, Until)>) -> anyhow::Result<()> {
    for (from, until) in spans {
        replay.run(from, until).await?;
        replay.remove().await?;
    }
    Ok(())
}

/// A span for each event of a message.
async fn of_message(
    stream: &Stream,
    church: &ChurchId,
    message: Uuid,
    since: OffsetDateTime,
) -> anyhow::Result<Vec<(DeliverPolicy, Until)>> {
    let found = events::of_message(stream, church, message, (since, None)).await?;
    ensure!(
        !found.is_empty(),
        "the stream holds no event of this message since {}",
        timestamp::to_text(since)
    );
    let span =
        |sequence| (DeliverPolicy::ByStartSequence { start_sequence: sequence }, Until::Sequence(sequence));
    Ok(found.iter().map(|stored| span(stored.sequence)).collect())
}

async fn clean(stream: &Stream, output: Output) -> anyhow::Result<ExitCode> {
    let forgotten = replays::list(stream).await?;
    for consumer in &forgotten {
        replays::remove(stream, &consumer.name).await?;
        let about = consumer.config.description.as_deref().unwrap_or("no description");
        let age = OffsetDateTime::now_utc() - consumer.created;
        output.progress(&format!("removed {} ({about}), {} old", consumer.name, age_in_words(age)));
    }
    let consumers = counted(i64::try_from(forgotten.len()).unwrap_or(i64::MAX), "consumer");
    output.say(format!("removed {consumers}"))?;
    Ok(ExitCode::SUCCESS)
}

fn age_in_words(age: Duration) -> String {
    match age.whole_minutes() {
        0 => "less than a minute".into(),
        minutes if minutes < 120 => format!("{minutes} minutes"),
        minutes => format!("{} hours", minutes / 60),
    }
}
