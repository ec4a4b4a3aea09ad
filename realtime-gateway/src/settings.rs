//! The settings.

use std::net::SocketAddr;

use common::broker::NatsOptions;
use common::claims::JwtOptions;
use common::cors::CorsOptions;
use common::telemetry::LogOptions;
use common::version::VERSION;

/// Socket.IO gateway: sends every change of a church's messages to its members' browsers.
#[derive(Debug, Clone, clap::Parser)]
#[command(name = "realtime-gateway", version = VERSION)]
pub struct Settings {
    /// Address that browsers connect to
    #[arg(long, env = "GATEWAY_LISTEN", default_value = "0.0.0.0:8082", value_name = "ADDRESS")]
    pub listen: SocketAddr,
    /// Address for operators: /livez, /readyz, /metrics
    #[arg(long, env = "GATEWAY_OPS_LISTEN", default_value = "127.0.0.1:9082", value_name = "ADDRESS")]
    pub ops_listen: SocketAddr,
    /// The broker.
    #[command(flatten)]
    pub nats: NatsOptions,
    /// The tokens.
    #[command(flatten)]
    pub jwt: JwtOptions,
    /// The front ends.
    #[command(flatten)]
    pub cors: CorsOptions,
    /// The limits.
    #[command(flatten)]
    pub limits: LimitOptions,
    /// The time-outs.
    #[command(flatten)]
    pub patience: PatienceOptions,
    /// The logs.
    #[command(flatten)]
    pub log: LogOptions,
}

/// Limits of sockets and memory.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Limits")]
pub struct LimitOptions {
    /// Seconds after which a client that takes no packets is closed; it resumes when it is back
    #[arg(long, env = "GATEWAY_WRITE_STALL", default_value_t = 15, value_name = "SECONDS",
        value_parser = clap::value_parser!(u64).range(1..))]
    pub write_stall: u64,
    /// Packets that may wait for one socket; beyond that, it catches up at its own pace
    #[arg(long, env = "GATEWAY_SOCKET_BUFFER", default_value_t = 512, value_name = "PACKETS",
        value_parser = clap::value_parser!(u32).range(64..=65_536))]
    pub socket_buffer: u32,
    /// Bytes of packets that may wait for one socket; beyond that, it catches up at its own pace
    #[arg(long, env = "GATEWAY_SOCKET_BYTES", default_value_t = 256 << 10, value_name = "BYTES",
        value_parser = clap::value_parser!(u32).range(16_384..))]
    pub socket_bytes: u32,
    /// Largest message that a client may send, in bytes; its token and cursor must fit. A client that sends more than
    /// four of these at once, or more than one a second, is closed
    #[arg(long, env = "GATEWAY_MAX_MESSAGE", default_value_t = 16 << 10, value_name = "BYTES",
        value_parser = clap::value_parser!(u32).range(8_192..))]
    pub max_message: u32,
    /// Connections that may be open at once; 0 allows as many as the limit of open files does
    #[arg(long, env = "GATEWAY_MAX_CONNECTIONS", default_value_t = 0, value_name = "CONNECTIONS")]
    pub max_connections: usize,
    /// Sockets that one church may have on this gateway; 0 is no limit
    #[arg(long, env = "GATEWAY_MAX_CHURCH_SOCKETS", default_value_t = 10_000, value_name = "SOCKETS")]
    pub max_church_sockets: usize,
    /// Sockets that one user may have on this gateway; 0 is no limit
    #[arg(long, env = "GATEWAY_MAX_USER_SOCKETS", default_value_t = 100, value_name = "SOCKETS")]
    pub max_user_sockets: usize,
    /// Sockets that one address (in IPv6 one /64) may have on this gateway; 0 is no limit. Behind a proxy, set
    /// TRUSTED_PROXIES, too
    #[arg(long, env = "GATEWAY_MAX_ADDRESS_SOCKETS", default_value_t = 0, value_name = "SOCKETS")]
    pub max_address_sockets: usize,
    /// Proxies whose X-Forwarded-For is believed: addresses or networks such as 10.0.0.0/8, separated by commas
    #[arg(long, env = "TRUSTED_PROXIES", value_delimiter = ',', value_name = "ADDRESS")]
    pub trusted_proxies: Vec<String>,
    /// New sessions per second, and as many at once, from one address; 0 is no limit. Behind a proxy, set
    /// TRUSTED_PROXIES, too
    #[arg(long, env = "GATEWAY_ADDRESS_CONNECTS_PER_SECOND", default_value_t = 500, value_name = "SESSIONS")]
    pub address_connects_per_second: u32,
    /// New sessions per second, and as many at once, from all addresses; 0 is no limit
    #[arg(long, env = "GATEWAY_CONNECTS_PER_SECOND", default_value_t = 3_000, value_name = "SESSIONS")]
    pub connects_per_second: u32,
    /// Seconds over which a stopping gateway closes its sockets, so that not all resume elsewhere at once
    #[arg(long, env = "GATEWAY_DRAIN", default_value_t = 5, value_name = "SECONDS")]
    pub drain: u64,
    /// Newest events of all churches that are kept in memory for clients that resume
    #[arg(long, env = "GATEWAY_MEMORY_EVENTS", default_value_t = 20_000, value_name = "EVENTS",
        value_parser = clap::value_parser!(u32).range(1..))]
    pub memory_events: u32,
    /// Bytes that these events may take
    #[arg(long, env = "GATEWAY_MEMORY_BYTES", default_value_t = 64 << 20, value_name = "BYTES")]
    pub memory_bytes: usize,
    /// Newest events of one church that are kept in memory; a replicated stream needs at least 512
    #[arg(long, env = "GATEWAY_MEMORY_CHURCH_EVENTS", default_value_t = 1_000, value_name = "EVENTS",
        value_parser = clap::value_parser!(u32).range(1..))]
    pub memory_church_events: u32,
}

/// Time-outs. The defaults fit production; tests change them.
#[derive(Debug, Clone, clap::Args)]
pub struct PatienceOptions {
    /// Milliseconds between two pings to a client
    #[arg(long, env = "GATEWAY_PING_INTERVAL", default_value_t = 25_000, value_name = "MILLISECONDS", hide = true,
        value_parser = clap::value_parser!(u64).range(1..))]
    pub ping_interval: u64,
    /// Milliseconds that a client has to answer a ping
    #[arg(long, env = "GATEWAY_PING_TIMEOUT", default_value_t = 20_000, value_name = "MILLISECONDS", hide = true,
        value_parser = clap::value_parser!(u64).range(1..))]
    pub ping_timeout: u64,
    /// Milliseconds from a client's connection to its token, and for its upgrade to a websocket
    #[arg(long, env = "GATEWAY_CONNECT_TIMEOUT", default_value_t = 10_000, value_name = "MILLISECONDS", hide = true,
        value_parser = clap::value_parser!(u64).range(1..))]
    pub connect_timeout: u64,
    /// Milliseconds until clients are told that the stream does not answer
    #[arg(long, env = "GATEWAY_STREAM_SILENCE", default_value_t = 10_000, value_name = "MILLISECONDS", hide = true,
        value_parser = clap::value_parser!(u64).range(1..))]
    pub stream_silence: u64,
    /// Milliseconds until clients are told that events are missing and can't be read
    #[arg(long, env = "GATEWAY_STREAM_GAP", default_value_t = 30_000, value_name = "MILLISECONDS", hide = true,
        value_parser = clap::value_parser!(u64).range(1..))]
    pub stream_gap: u64,
}

impl common::service::Settings for Settings {
    const NAME: &'static str = "realtime-gateway";
    const OPS_LISTEN: &'static str = "GATEWAY_OPS_LISTEN";

    fn ops_listen(&self) -> SocketAddr {
        self.ops_listen
    }

    fn log(&self) -> &LogOptions {
        &self.log
    }
}
