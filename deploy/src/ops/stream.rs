//! Creates or updates the stream `CHURCH`. Only the broker's user `provisioner` may do this.

use std::time::Duration;

use anyhow::{anyhow, bail};
use async_nats::jetstream;
use async_nats::jetstream::context::{CreateStreamError, CreateStreamErrorKind, GetStreamErrorKind};
use async_nats::jetstream::stream::{Config, DiscardPolicy, Republish, RetentionPolicy, StorageType};
use common::subject;

/// The broker does not answer requests that a user may not make.
const UNANSWERED: &str =
    "the broker does not answer; only the user provisioner may read and change the stream";

/// The stream's limits, which an installation chooses.
#[derive(Debug, Clone, clap::Args)]
pub struct Limits {
    /// How long events are kept, in days
    #[arg(long, env = "STREAM_MAX_AGE_DAYS", default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..=36_500))]
    pub max_age_days: u32,
    /// Size limit in MiB; the oldest events are deleted first
    #[arg(long, env = "STREAM_MAX_MIB", default_value_t = 4096, value_parser = clap::value_parser!(u32).range(1..))]
    pub max_mib: u32,
    /// Replicas of each event in the cluster: 1 or 3
    #[arg(long, env = "STREAM_REPLICAS", default_value_t = 1)]
    pub replicas: usize,
    /// Delete the oldest events if the new limit is below what the stream holds
    #[arg(long)]
    pub shrink: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_age_days: 7, max_mib: 4096, replicas: 1, shrink: false }
    }
}

/// The outcome of [`provision`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The stream was created.
    Created,
    /// These settings were changed, each as `name: before → after`.
    Updated(Vec<String>),
    /// Nothing had to be changed.
    UpToDate,
}

/// The stream's configuration.
pub fn config(limits: &Limits) -> Config {
    let (source, destination) = subject::REPUBLISH;
    Config {
        name: subject::STREAM.into(),
        description: Some("What happened to each church's messages".into()),
        subjects: vec![subject::STREAM_SUBJECTS.into()],
        retention: RetentionPolicy::Limits,
        storage: StorageType::File,
        discard: DiscardPolicy::Old,
        max_age: Duration::from_secs(u64::from(limits.max_age_days) * 24 * 60 * 60),
        max_bytes: i64::from(limits.max_mib) << 20,
        max_messages: -1,
        max_messages_per_subject: -1,
        max_message_size: 64 << 10,
        // Without it, newer servers use 1000, older ones no limit.
        max_consumers: 1000,
        num_replicas: limits.replicas,
        duplicate_window: Duration::from_secs(120),
        allow_direct: true,
        // Events leave the stream only by age and size, so that a gap always means a loss.
        deny_delete: true,
        deny_purge: true,
        republish: Some(Republish {
            source: source.into(),
            destination: destination.into(),
            headers_only: false,
        }),
        ..Config::default()
    }
}

/// Creates or updates the stream.
///
/// # Errors
/// The broker is away or refuses, or the existing stream can't be changed that way.
pub async fn provision(client: async_nats::Client, limits: &Limits) -> anyhow::Result<Outcome> {
    let mut jetstream = jetstream::new(client);
    jetstream.set_timeout(Duration::from_secs(5));
    let wanted = config(limits);
    let before = match jetstream.get_stream(subject::STREAM).await {
        Ok(stream) => stream.cached_info().clone(),
        Err(error) if is_missing(&error.kind()) => {
            jetstream.create_stream(wanted).await.map_err(refusal)?;
            return Ok(Outcome::Created);
        }
        Err(error) => match error.kind() {
            GetStreamErrorKind::JetStream(answer) => bail!("the broker refuses: {answer}"),
            _ => return Err(anyhow::Error::new(error).context(UNANSWERED)),
        },
    };
    let (before, stored) = (before.config, before.state.bytes >> 20);
    let changes = differences(&before, &wanted);
    if changes.is_empty() {
        return Ok(Outcome::UpToDate);
    }
    if before.storage != wanted.storage || before.retention != wanted.retention {
        bail!(
            "the stream {} has another storage or retention, which can't be changed: {}",
            subject::STREAM,
            changes.join(", ")
        );
    }
    if stored > u64::from(limits.max_mib) && !limits.shrink {
        bail!(
            "--max-mib: the stream {} holds {stored} MiB; a limit of {} MiB deletes the oldest events; add --shrink to \
             do that",
            subject::STREAM,
            limits.max_mib
        );
    }
    jetstream.update_stream(wanted).await.map_err(refusal)?;
    Ok(Outcome::Updated(changes))
}

/// The error with the server's message, if it answered.
fn refusal(error: CreateStreamError) -> anyhow::Error {
    match error.kind() {
        CreateStreamErrorKind::JetStream(answer) => anyhow!("the broker refuses: {answer}"),
        _ => anyhow::Error::new(error).context(UNANSWERED),
    }
}

fn is_missing(kind: &GetStreamErrorKind) -> bool {
    use async_nats::jetstream::ErrorCode;
    matches!(kind, GetStreamErrorKind::JetStream(error) if error.error_code() == ErrorCode::STREAM_NOT_FOUND)
}

/// The settings of ours that differ between two configurations.
fn differences(before: &Config, after: &Config) -> Vec<String> {
    let view = |config: &Config| {
        let republish = config.republish.as_ref().map(|it| (it.source.clone(), it.destination.clone()));
        [
            ("subjects", format!("{:?}", config.subjects)),
            ("retention", format!("{:?}", config.retention)),
            ("storage", format!("{:?}", config.storage)),
            ("discard", format!("{:?}", config.discard)),
            ("max_age", format!("{} s", config.max_age.as_secs())),
            ("max_bytes", config.max_bytes.to_string()),
            ("max_messages", config.max_messages.to_string()),
            ("max_messages_per_subject", config.max_messages_per_subject.to_string()),
            ("max_message_size", config.max_message_size.to_string()),
            ("max_consumers", config.max_consumers.to_string()),
            ("replicas", config.num_replicas.to_string()),
            ("duplicate_window", format!("{} s", config.duplicate_window.as_secs())),
            ("allow_direct", config.allow_direct.to_string()),
            ("deny_delete", config.deny_delete.to_string()),
            ("deny_purge", config.deny_purge.to_string()),
            ("republish", format!("{republish:?}")),
        ]
    };
    let pairs = view(before).into_iter().zip(view(after));
    pairs
        .filter(|((_, before), (_, after))| before != after)
        .map(|((name, before), (_, after))| format!("{name}: {before} → {after}"))
        .collect()
}
