//! The connection to the broker: it comes back by itself, and what it says of itself is not lost.
//!
//! A denied publish shows as nothing but a time-out at the caller and an event on the connection, so the events are
//! heard here: they are logged, counted and shown in the readiness.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_nats::rustls::RootCertStore;
use async_nats::rustls::pki_types::CertificateDer;
use async_nats::rustls::pki_types::pem::PemObject as _;
use async_nats::{ConnectOptions, Event, ServerAddr, ServerError};
use clap::builder::NonEmptyStringValueParser;
use prometheus_client::metrics::counter::Counter;
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::watch;
use tracing::{error, info, warn};

use crate::service::{Condition, ConfigError, Context, Weight};
use crate::setting;
use crate::throttle::Throttle;

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
    #[arg(long, env = "NATS_USER", value_parser = NonEmptyStringValueParser::new())]
    pub nats_user: String,
    /// The user's password
    #[arg(long, env = "NATS_PASSWORD", hide_env_values = true, value_parser = setting::secret())]
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
    /// `NATS_URL` is no address, or `NATS_CA_FILE` holds no certificate.
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

    /// A second connection beside the first, without a say in the readiness.
    ///
    /// # Errors
    /// As [`Broker::connect`].
    pub async fn connect_aside(options: &NatsOptions, role: &str) -> anyhow::Result<Self> {
        // A condition that no readiness report asks: setting it changes nothing.
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
            async move { watcher.hear(event) }
        })
        // Asked before each round of attempts. It chooses nothing: only here the client says which server gave which
        // error.
        .reconnect_to_server_callback(move |servers, _| {
            let watcher = of_servers.clone();
            async move {
                watcher.look_at(&servers);
                None
            }
        });
        if let Some(file) = &options.nats_ca_file {
            check_ca_file(file)?;
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

fn servers(urls: &[String]) -> Result<Vec<ServerAddr>, ConfigError> {
    // The address is not repeated: it may hold a password.
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

/// The client reads the file at each attempt to connect, when nobody looks any more.
fn check_ca_file(file: &Path) -> Result<(), ConfigError> {
    let wrong = |why: String| ConfigError::new("NATS_CA_FILE", format!("{}: {why}", file.display()));
    let pem = std::fs::read(file).map_err(|error| wrong(error.to_string()))?;
    let certificates = CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>();
    let certificates = certificates.map_err(|_| wrong("is no PEM file".into()))?;
    if certificates.is_empty() {
        return Err(wrong("holds no certificate in PEM".into()));
    }
    let mut roots = RootCertStore::empty();
    certificates
        .into_iter()
        .try_for_each(|certificate| roots.add(certificate))
        .map_err(|_| wrong("holds a certificate that can't be read".into()))
}

/// Quick at first, then about every two seconds, spread so that services don't come back in step.
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

/// Hears the connection's events.
struct Watcher {
    user: String,
    states: watch::Sender<Link>,
    condition: Condition,
    counters: Counters,
    throttle: Throttle,
}

impl Watcher {
    fn hear(&self, event: Event) {
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
            // An attempt that failed: the servers' own errors say more.
            Event::ClientError(_) if !self.states.borrow().up => {}
            other => self.complain(&other.to_string()),
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
            warn!(user = self.user, held_back, "the connection to the broker is lost; trying again");
        }
    }

    /// Tells why no server lets us in: address, user and cause.
    fn look_at(&self, servers: &[async_nats::Server]) {
        for server in servers {
            let Some(error) = &server.last_error else { continue };
            let address = format!("{}:{}", server.addr.host(), server.addr.port());
            self.condition.unmet(format!("{address}: {error}"));
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
        self.condition.unmet(format!("the broker refuses: {text}"));
        self.counters.denials.inc();
        self.states.send_modify(|link| link.denials += 1);
        if let Some(held_back) = self.throttle.opens(text) {
            error!(
                user = self.user,
                refusal = text,
                held_back,
                "the broker refuses; check the user's permissions in nats.conf"
            );
        }
    }

    fn complain(&self, text: &str) {
        if let Some(held_back) = self.throttle.opens(text) {
            warn!(user = self.user, error = text, held_back, "trouble with the broker");
        }
    }
}

/// What to look at first.
fn advice(error: &str) -> &'static str {
    let error = error.to_ascii_lowercase();
    if error.contains("authorization") || error.contains("authentication") {
        "; check NATS_USER and NATS_PASSWORD"
    } else if error.contains("tls") || error.contains("certificate") {
        "; check NATS_CA_FILE and the server's certificate"
    } else {
        ""
    }
}
