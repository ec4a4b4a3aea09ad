//! The connection to the broker: it comes back by itself, and what it says of itself is not lost.
//!
//! A denied publish shows as nothing but a time-out at the caller and an event on the connection, so the events are
//! heard here: they are logged, counted and shown in the readiness.

use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_nats::{ConnectOptions, Event, ServerAddr, ServerError};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::watch;
use tracing::{error, info, warn};

use crate::service::{Condition, ConfigError, Context, Weight};

/// Between two log lines about messages that were dropped because we read too slowly.
const BETWEEN_OVERRUNS: Duration = Duration::from_secs(60);

/// `NATS_URL` and who we are there.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Broker")]
pub struct NatsOptions {
    /// Servers, comma separated: nats://host:port, or tls://host:port
    #[arg(
        long,
        env = "NATS_URL",
        hide_env_values = true,
        value_delimiter = ',',
        default_value = "nats://127.0.0.1:4222",
        value_name = "URL"
    )]
    pub nats_url: Vec<String>,
    /// User of this service
    #[arg(long, env = "NATS_USER")]
    pub nats_user: String,
    /// The user's password
    #[arg(long, env = "NATS_PASSWORD", hide_env_values = true)]
    pub nats_password: SecretString,
    /// PEM file with the CA that signed the servers' certificates; turns TLS on
    #[arg(long, env = "NATS_CA_FILE", value_name = "FILE")]
    pub nats_ca_file: Option<PathBuf>,
}

/// The connection, as it is now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Link {
    /// Whether a server is connected.
    pub up: bool,
    /// How often a connection was made so far; it rises with each.
    pub generation: u64,
    /// How often the broker refused something for lack of permission.
    pub denials: u64,
}

/// A connection to the broker and its state.
#[derive(Clone)]
pub struct Broker {
    client: async_nats::Client,
    link: watch::Receiver<Link>,
    condition: Condition,
}

impl Broker {
    /// Starts to connect and goes on trying for ever; the connection may come later.
    ///
    /// `role` is the service's name in the broker's permissions: replies arrive under `_INBOX_<role>.>`. The
    /// readiness condition `nats` follows the connection with the given weight.
    ///
    /// # Errors
    /// `NATS_URL` is no address, or `NATS_CA_FILE` can't be read.
    pub async fn connect(
        options: &NatsOptions,
        role: &str,
        context: &Context,
        weight: Weight,
    ) -> anyhow::Result<Self> {
        let condition = context.health.condition("nats", weight);
        condition.unmet("not connected");
        let broker = Self::connect_as(options, role, condition).await?;
        let connections = context.metrics.gauge("nats_connections", "Connections made to the broker so far");
        let denials = context
            .metrics
            .gauge("nats_denials", "Times the broker refused something for lack of permission");
        tokio::spawn(count(broker.link(), connections, denials));
        Ok(broker)
    }

    /// A second connection beside the first, without a say in the readiness.
    ///
    /// # Errors
    /// As [`Broker::connect`].
    pub async fn connect_aside(options: &NatsOptions, role: &str) -> anyhow::Result<Self> {
        // A condition that no readiness report asks: setting it changes nothing.
        let condition = crate::service::Health::default().condition("nats", Weight::Degrading);
        Self::connect_as(options, role, condition).await
    }

    async fn connect_as(options: &NatsOptions, role: &str, condition: Condition) -> anyhow::Result<Self> {
        let servers = servers(&options.nats_url)?;
        let (states, link) = watch::channel(Link::default());
        let watcher = Arc::new(Watcher {
            states,
            condition: condition.clone(),
            last_error: Mutex::new(None),
            overruns: Mutex::default(),
        });
        let mut connect = ConnectOptions::with_user_and_password(
            options.nats_user.clone(),
            options.nats_password.expose_secret().to_owned(),
        )
        .name(role)
        .custom_inbox_prefix(format!("_INBOX_{role}"))
        .retry_on_initial_connect()
        .max_reconnects(None)
        .ping_interval(Duration::from_secs(10))
        .connection_timeout(Duration::from_secs(3))
        .request_timeout(Some(Duration::from_secs(3)))
        .reconnect_delay_callback(reconnect_delay)
        .event_callback(move |event| {
            let watcher = watcher.clone();
            async move { watcher.hear(event) }
        });
        if let Some(file) = &options.nats_ca_file {
            if !file.is_file() {
                return Err(ConfigError::new("NATS_CA_FILE", format!("{} is no file", file.display())).into());
            }
            connect = connect.require_tls(true).add_root_certificates(file.clone());
        }
        let client = connect.connect(servers).await?;
        Ok(Self { client, link, condition })
    }

    /// The client, for publishing, requests and subscriptions.
    pub fn client(&self) -> &async_nats::Client {
        &self.client
    }

    /// The connection's state; changes wake whoever waits on the receiver.
    pub fn link(&self) -> watch::Receiver<Link> {
        self.link.clone()
    }

    /// How many connections were made so far. A message that came over a new connection is never handed out before this
    /// has risen, which can't be said of [`Broker::link`].
    pub fn connections(&self) -> u64 {
        self.client.statistics().connects.load(Ordering::Relaxed)
    }

    /// Says that the broker just did what it was asked, which ends an earlier refusal in the readiness.
    pub fn obeyed(&self) {
        if self.link.borrow().up {
            self.condition.met();
        }
    }

    /// Hands everything that was published to the network, within a second; without a connection there is nothing to
    /// hand it to.
    pub async fn flush(&self) {
        if !self.link.borrow().up {
            return;
        }
        if tokio::time::timeout(Duration::from_secs(1), self.client.flush()).await.is_err() {
            warn!("the broker did not take the last messages");
        }
    }
}

async fn count(
    mut link: watch::Receiver<Link>,
    connections: prometheus_client::metrics::gauge::Gauge,
    denials: prometheus_client::metrics::gauge::Gauge,
) {
    while link.changed().await.is_ok() {
        let now = *link.borrow();
        connections.set(now.generation as i64);
        denials.set(now.denials as i64);
    }
}

fn servers(urls: &[String]) -> Result<Vec<ServerAddr>, ConfigError> {
    // The address is not repeated: it may hold a password.
    let wrong = |_| ConfigError::new("NATS_URL", "write nats://host:port, several comma separated");
    urls.iter().map(|url| url.trim().parse().map_err(wrong)).collect()
}

/// Quick at first, then about every two seconds, spread so that services don't come back in step.
fn reconnect_delay(attempts: usize) -> Duration {
    let base = 20u64 << attempts.min(7);
    let spread = uuid::Uuid::now_v7().as_u128() as u64 % (base / 2);
    Duration::from_millis((base / 2 + spread).min(2_000))
}

/// Hears the connection's events.
struct Watcher {
    states: watch::Sender<Link>,
    condition: Condition,
    last_error: Mutex<Option<String>>,
    overruns: Mutex<Overruns>,
}

/// Messages that were dropped because we read too slowly: there may be thousands a second.
#[derive(Default)]
struct Overruns {
    untold: u64,
    told: Option<Instant>,
}

impl Overruns {
    /// One more. Gives how many there were since the last time, once a minute.
    fn add(&mut self, now: Instant) -> Option<u64> {
        self.untold += 1;
        if self.told.is_some_and(|told| now.duration_since(told) < BETWEEN_OVERRUNS) {
            return None;
        }
        self.told = Some(now);
        Some(std::mem::take(&mut self.untold))
    }
}

impl Watcher {
    fn hear(&self, event: Event) {
        match event {
            Event::Connected => self.connected(),
            Event::Disconnected => self.disconnected(&event),
            Event::Closed | Event::Draining => self.states.send_modify(|link| link.up = false),
            Event::ServerError(ServerError::AuthorizationViolation) => {
                self.complain("the broker refuses NATS_USER or NATS_PASSWORD".into());
            }
            Event::ServerError(ServerError::Other(text))
                if text.to_ascii_lowercase().contains("permissions violation") =>
            {
                self.denied(&text);
            }
            Event::SlowConsumer(subscription) => self.overrun(subscription),
            Event::LameDuckMode => info!("the broker is about to stop"),
            other => self.complain(other.to_string()),
        }
    }

    fn connected(&self) {
        self.condition.met();
        self.last_error().take();
        self.states.send_modify(|link| {
            link.up = true;
            link.generation += 1;
        });
        info!("connected to the broker");
    }

    fn disconnected(&self, event: &Event) {
        self.condition.unmet("not connected");
        self.states.send_modify(|link| link.up = false);
        warn!(%event, "no connection to the broker; trying again");
    }

    fn denied(&self, text: &str) {
        self.condition.unmet(format!("the broker refuses: {text}"));
        self.states.send_modify(|link| link.denials += 1);
        error!(refusal = text, "the broker refuses; check the user's permissions in nats.conf");
    }

    fn overrun(&self, subscription: u64) {
        let mut overruns = self.overruns.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(dropped) = overruns.add(Instant::now()) {
            warn!(subscription, dropped, "messages were dropped because this service reads too slowly");
        }
    }

    /// Logs an error once while it repeats itself, as it does at every attempt to connect.
    fn complain(&self, text: String) {
        let mut last = self.last_error();
        if last.as_ref() == Some(&text) {
            return;
        }
        if !self.states.borrow().up {
            self.condition.unmet(text.clone());
        }
        warn!(error = text, "trouble with the broker");
        *last = Some(text);
    }

    fn last_error(&self) -> std::sync::MutexGuard<'_, Option<String>> {
        self.last_error.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dropped_messages_are_told_of_once_a_minute_with_their_number() {
        let (mut overruns, begin) = (Overruns::default(), Instant::now());
        let mut told = |second| overruns.add(begin + Duration::from_secs(second));
        assert_eq!([told(0), told(1), told(59)], [Some(1), None, None]);
        assert_eq!([told(60), told(61)], [Some(3), None]);
    }
}
