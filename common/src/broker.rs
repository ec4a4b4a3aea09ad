//! The connection to the broker. It reconnects by itself; its events are logged, counted and shown in the readiness.
//!
//! A denied publish only times out at its caller. The connection's event is what says that it was denied.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_nats::{ConnectOptions, Event, ServerAddr, ServerError};
use clap::builder::NonEmptyStringValueParser;
use prometheus_client::metrics::counter::Counter;
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::watch;
use tracing::{error, info, warn};

use crate::certificate;
use crate::config::{self, ConfigError};
use crate::service::{Condition, Context, Weight};
use crate::throttle::Throttle;

/// The broker's address and the service's user there.
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
    #[arg(long, env = "NATS_USER", value_parser = NonEmptyStringValueParser::new())]
    pub nats_user: String,
    /// The user's password
    #[arg(long, env = "NATS_PASSWORD", hide_env_values = true, value_parser = config::secret())]
    pub nats_password: SecretString,
    /// PEM file with the CA that signed the servers' certificates; turns TLS on
    #[arg(long, env = "NATS_CA_FILE", value_name = "FILE")]
    pub nats_ca_file: Option<PathBuf>,
}

/// The state of the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Link {
    /// Whether a server is connected.
    pub up: bool,
    /// How many connections were made so far.
    pub generation: u64,
    /// How many operations the broker denied for lack of permission.
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
    /// Starts to connect, and keeps trying in the background.
    ///
    /// `role` is the service's name in the broker's permissions: replies arrive under `_INBOX_<role>.>`. The
    /// readiness condition `nats` follows the connection with the given weight.
    ///
    /// # Errors
    /// `NATS_URL` is not an address, or `NATS_CA_FILE` has no certificate.
    pub async fn connect(
        options: &NatsOptions,
        role: &str,
        context: &Context,
        weight: Weight,
    ) -> anyhow::Result<Self> {
        let condition = context.health.condition("nats", weight);
        condition.unmet("not connected");
        let metrics = &context.metrics;
        let counters = Counters {
            connections: metrics.counter("nats_connections", "Connections made to the broker"),
            denials: metrics
                .counter("nats_denials", "Operations that the broker denied for lack of permission"),
        };
        Self::connect_as(options, role, condition, counters).await
    }

    /// A second connection beside the first, which the readiness does not show.
    ///
    /// # Errors
    /// As [`Broker::connect`].
    pub async fn connect_aside(options: &NatsOptions, role: &str) -> anyhow::Result<Self> {
        // No report shows a condition of its own health.
        let condition = crate::service::Health::default().condition("nats", Weight::Degrading);
        Self::connect_as(options, role, condition, Counters::default()).await
    }

    async fn connect_as(
        options: &NatsOptions,
        role: &str,
        condition: Condition,
        counters: Counters,
    ) -> anyhow::Result<Self> {
        let servers = servers(&options.nats_url)?;
        let (states, link) = watch::channel(Link::default());
        let watcher = Arc::new(Watcher {
            user: options.nats_user.clone(),
            states,
            condition: condition.clone(),
            counters,
            throttle: Throttle::once_a_minute(),
        });
        let of_servers = watcher.clone();
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
            async move { watcher.handle(event) }
        })
        // Called before each round of attempts. Chooses no server: the client tells each server's error only here.
        .reconnect_to_server_callback(move |servers, _| {
            let watcher = of_servers.clone();
            async move {
                watcher.log_errors(&servers);
                None
            }
        });
        if let Some(file) = &options.nats_ca_file {
            certificate::check_file(file).map_err(|wrong| ConfigError::new("NATS_CA_FILE", wrong))?;
            connect = connect.require_tls(true).add_root_certificates(file.clone());
        }
        let client = connect.connect(servers).await?;
        Ok(Self { client, link, condition })
    }

    /// The client, for publishing, requests and subscriptions.
    pub fn client(&self) -> &async_nats::Client {
        &self.client
    }

    /// The connection's state, to be read or waited on.
    pub fn link(&self) -> watch::Receiver<Link> {
        self.link.clone()
    }

    /// How many connections were made so far. Rises before any message of a new connection is handed out;
    /// [`Broker::link`] may change later.
    pub fn connections(&self) -> u64 {
        self.client.statistics().connects.load(Ordering::Relaxed)
    }

    /// Notes that the broker carried out an operation, which ends an earlier denial in the readiness.
    pub fn note_success(&self) {
        if self.link.borrow().up {
            self.condition.met();
        }
    }

    /// Flushes everything that was published, within a second. Does nothing without a connection.
    pub async fn flush(&self) {
        if !self.link.borrow().up {
            return;
        }
        if tokio::time::timeout(Duration::from_secs(1), self.client.flush()).await.is_err() {
            warn!("the broker did not take the last messages within a second");
        }
    }
}

fn servers(urls: &[String]) -> Result<Vec<ServerAddr>, ConfigError> {
    // The address is not shown: it may contain a password.
    let help = "write nats://host:port or tls://host:port, several comma separated";
    let server = |url: &String| {
        let address: Option<ServerAddr> = url.trim().parse().ok();
        address.filter(is_server).ok_or_else(|| ConfigError::new("NATS_URL", help))
    };
    urls.iter().map(server).collect()
}

fn is_server(address: &ServerAddr) -> bool {
    let url = address.clone().into_inner();
    matches!(url.scheme(), "nats" | "tls") && url.host_str().is_some_and(|host| !host.is_empty())
}

/// From 20 ms up to two seconds, spread so that services don't reconnect in step.
fn reconnect_delay(attempts: usize) -> Duration {
    let base = 20u64 << attempts.min(7);
    let spread = uuid::Uuid::now_v7().as_u128() as u64 % (base / 2);
    Duration::from_millis((base / 2 + spread).min(2_000))
}

#[derive(Default)]
struct Counters {
    connections: Counter,
    denials: Counter,
}

/// Handles the connection's events.
struct Watcher {
    user: String,
    states: watch::Sender<Link>,
    condition: Condition,
    counters: Counters,
    throttle: Throttle,
}

impl Watcher {
    fn handle(&self, event: Event) {
        match event {
            Event::Connected => self.connected(),
            Event::Disconnected => self.disconnected(),
            Event::Closed | Event::Draining => self.states.send_modify(|link| link.up = false),
            Event::ServerError(ServerError::Other(text))
                if text.to_ascii_lowercase().contains("permissions violation") =>
            {
                self.denied(&text);
            }
            Event::SlowConsumer(subscription) => {
                if let Some(held_back) = self.throttle.opens("slow consumer") {
                    warn!(
                        subscription,
                        held_back, "messages were dropped because this service reads too slowly"
                    );
                }
            }
            Event::LameDuckMode => info!("the broker is about to stop"),
            // A failed attempt: the servers' own errors say more.
            Event::ClientError(_) if !self.states.borrow().up => {}
            other => self.warn(&other.to_string()),
        }
    }

    fn connected(&self) {
        self.condition.met();
        self.counters.connections.inc();
        self.states.send_modify(|link| {
            link.up = true;
            link.generation += 1;
        });
        if let Some(held_back) = self.throttle.opens("connected") {
            info!(user = self.user, held_back, "connected to the broker");
        }
    }

    fn disconnected(&self) {
        self.condition.unmet("not connected");
        self.states.send_modify(|link| link.up = false);
        if let Some(held_back) = self.throttle.opens("disconnected") {
            warn!(user = self.user, held_back, "lost the connection to the broker; trying again");
        }
    }

    /// Logs why no server accepts the connection: address, user and cause.
    fn log_errors(&self, servers: &[async_nats::Server]) {
        for server in servers {
            let Some(error) = &server.last_error else { continue };
            let address = format!("{}:{}", server.addr.host(), server.addr.port());
            self.condition.unmet(format!("{address}: {error}{}", advice(error)));
            if let Some(held_back) = self.throttle.opens(&format!("{address} {error}")) {
                warn!(
                    address,
                    user = self.user,
                    error,
                    held_back,
                    "can't connect to the broker; trying again{}",
                    advice(error)
                );
            }
        }
    }

    fn denied(&self, text: &str) {
        self.condition.unmet(format!("the broker denies: {text}"));
        self.counters.denials.inc();
        self.states.send_modify(|link| link.denials += 1);
        if let Some(held_back) = self.throttle.opens(text) {
            error!(
                user = self.user,
                error = text,
                held_back,
                "the broker denies an operation; check the user's permissions in nats.conf"
            );
        }
    }

    fn warn(&self, text: &str) {
        if let Some(held_back) = self.throttle.opens(text) {
            warn!(user = self.user, error = text, held_back, "the broker's client reports an error");
        }
    }
}

/// What to check first.
fn advice(error: &str) -> String {
    let lower = error.to_ascii_lowercase();
    let advice = if lower.contains("authorization") || lower.contains("authentication") {
        Some("check NATS_USER and NATS_PASSWORD".into())
    } else {
        certificate::NATS.advice(error)
    };
    advice.map(|advice| format!("; {advice}")).unwrap_or_default()
}
