//! Checks the broker: the stream, the users and their permissions, and consumers that were left behind.

use std::time::Duration;

use async_nats::Client;
use async_nats::jetstream::consumer::Info;
use async_nats::jetstream::context::{ContextBuilder, PublishErrorKind};
use async_nats::jetstream::message::PublishMessage;
use common::subject::{RELAY_PROBE, RELAY_WAKE, REPUBLISH, STREAM, STREAM_SUBJECTS};
use futures_util::TryFutureExt as _;
use secrecy::{ExposeSecret as _, SecretString};
use time::OffsetDateTime;
use tokio::time::timeout;

use super::broker::BrokerOptions;
use super::diagnosis::Diagnosis;
use super::output::moment;
use super::{events, replays};
use crate::programs::nats::Denials;

/// What to do if a user can't connect.
const ANSWERS: &str =
    "start nats-server, or correct NATS_URL and the password: nats.conf gets both from the environment";
/// A consumer of `ops replay` that delivered nothing for so long stands still.
const STANDING: time::Duration = time::Duration::minutes(1);
/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// A sequence that no stream reaches.
const UNREACHED: u64 = 1 << 53;

/// The passwords of the services' users, as `nats.conf` gets them.
#[derive(clap::Args)]
#[command(next_help_heading = "Broker")]
pub(super) struct UserPasswords {
    /// Password of the broker's user ingest
    #[arg(long, env = "NATS_INGEST_PASSWORD", hide_env_values = true, value_name = "PASSWORD")]
    nats_ingest_password: Option<SecretString>,
    /// Password of the broker's user message_api
    #[arg(long, env = "NATS_MESSAGE_API_PASSWORD", hide_env_values = true, value_name = "PASSWORD")]
    nats_message_api_password: Option<SecretString>,
    /// Password of the broker's user gateway
    #[arg(long, env = "NATS_GATEWAY_PASSWORD", hide_env_values = true, value_name = "PASSWORD")]
    nats_gateway_password: Option<SecretString>,
}

/// Checks it.
pub(super) async fn check(broker: &BrokerOptions, passwords: &UserPasswords, diagnosis: &mut Diagnosis) {
    match broker.connect_if_set().await {
        Ok(None) => diagnosis.skipped("broker", "NATS_OPS_PASSWORD is not set here"),
        Ok(Some(client)) => {
            diagnosis.ok("broker", "answers the user ops");
            stream(client, diagnosis).await;
        }
        Err(error) => diagnosis.wrong("broker", format!("{error:#}"), ANSWERS),
    }
    let users = [
        ("ingest", "NATS_INGEST_PASSWORD", &passwords.nats_ingest_password),
        ("message_api", "NATS_MESSAGE_API_PASSWORD", &passwords.nats_message_api_password),
        ("gateway", "NATS_GATEWAY_PASSWORD", &passwords.nats_gateway_password),
    ];
    for (name, variable, password) in users {
        match password {
            None => diagnosis.skipped("broker user", format!("{name}: {variable} is not set here")),
            Some(password) => user(broker, (name, variable, password), diagnosis).await,
        }
    }
}

async fn stream(client: Client, diagnosis: &mut Diagnosis) {
    let stream = match events::stream(client).await {
        Ok(stream) => stream,
        Err(error) => return diagnosis.wrong("stream", format!("{error:#}"), "run `ops provision`"),
    };
    let config = &stream.cached_info().config;
    let republish = config.republish.as_ref().map(|it| (it.source.as_str(), it.destination.as_str()));
    if republish == Some(REPUBLISH) && config.subjects == [STREAM_SUBJECTS] && config.allow_direct {
        diagnosis.ok("stream", format!("CHURCH holds {} events", stream.cached_info().state.messages));
    } else {
        diagnosis.wrong("stream", "CHURCH has other subjects than it needs", "run `ops provision`");
    }
    let replicas = stream.cached_info().cluster.iter().flat_map(|cluster| &cluster.replicas);
    for replica in replicas.filter(|replica| replica.offline || !replica.current) {
        let state = if replica.offline { "is offline" } else { "lags behind" };
        let says = format!("the replica {} {state}", replica.name);
        diagnosis.wrong("stream", says, "look at that server; gateways wait for its answers");
    }
    match replays::list(&stream).await {
        Ok(all) if all.is_empty() => diagnosis.ok("consumers", "no replay is running"),
        Ok(all) => all.iter().for_each(|consumer| replaying(consumer, diagnosis)),
        Err(error) => {
            diagnosis.wrong("consumers", format!("{error:#}"), "compare nats.conf with this version's")
        }
    }
}

/// A consumer of `ops replay` ends by itself, unless its maker was killed. One that was made by hand never does.
fn replaying(consumer: &Info, diagnosis: &mut Diagnosis) {
    let now = OffsetDateTime::now_utc();
    let whose = consumer.config.description.as_deref().unwrap_or("made by hand");
    let name = format!("{} ({whose}) since {}", consumer.name, moment(consumer.created));
    let active = consumer.delivered.last_active.unwrap_or(consumer.created).max(consumer.created);
    if !replays::ends_by_itself(consumer) {
        let says = format!("{name} emits every event again, also new ones");
        diagnosis.wrong("consumers", says, "if nobody watches it, `ops replay --clean` removes it");
    } else if now - active > STANDING {
        let says = format!("{name} has stood still since {}", moment(active));
        diagnosis.wrong("consumers", says, "`ops replay --clean` removes it");
    } else {
        diagnosis.ok("consumers", format!("{name} is running"));
    }
}

/// Connects as a service's user, and does something harmless that the service does.
async fn user(
    broker: &BrokerOptions,
    (name, variable, password): (&'static str, &'static str, &SecretString),
    diagnosis: &mut Diagnosis,
) {
    let denials = Denials::default();
    let connected = broker.connect_as(name, password.expose_secret(), variable, denials.clone()).await;
    let client = match connected {
        Ok(client) => client,
        Err(error) => {
            return diagnosis.wrong("broker user", format!("{error:#}"), ANSWERS);
        }
    };
    let tried = if name == "gateway" { ask(&client).await } else { wake(&client).await };
    match (tried, denials.so_far().first()) {
        (_, Some(denial)) => {
            let says = format!("{name} is denied what it needs: {denial}");
            diagnosis.wrong("broker user", says, "restart nats-server with this version's nats.conf");
        }
        (Err(error), None) => {
            diagnosis.wrong("broker user", format!("{name}: {error:#}"), "check the broker's log");
        }
        (Ok(()), None) => diagnosis.ok("broker user", format!("{name} has its password and its permissions")),
    }
}

/// What the gateway does first.
async fn ask(client: &Client) -> anyhow::Result<()> {
    let asked = client.request(format!("$JS.API.STREAM.INFO.{STREAM}"), "".into());
    timeout(PATIENCE, asked).await??;
    Ok(())
}

/// What a service does after a commit, and what the relay does to find the stream's end. The relay looks at the outbox,
/// and the stream refuses what expects more messages than it has: neither does any harm.
async fn wake(client: &Client) -> anyhow::Result<()> {
    client.publish(RELAY_WAKE, "".into()).await?;
    timeout(PATIENCE, client.flush().map_err(anyhow::Error::from)).await??;
    let jetstream = ContextBuilder::new().timeout(PATIENCE).build(client.clone());
    let refused = PublishMessage::build().expected_stream(STREAM).expected_last_sequence(UNREACHED);
    match jetstream.send_publish(RELAY_PROBE, refused).await?.await {
        Err(error) if error.kind() != PublishErrorKind::WrongLastSequence => Err(error.into()),
        _ => Ok(()),
    }
}
