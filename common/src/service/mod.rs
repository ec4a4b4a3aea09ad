//! Starts a service, reports its readiness, and stops it. All three services use it alike.
//!
//! A service is `run(settings, context)`: it binds its own listener, works until `context.shutdown` is cancelled,
//! finishes the requests that it has accepted, and returns. This module does the rest: configuration errors (exit code 2),
//! logging, the operators' listener, signals, the exit code.
//!
//! ```no_run
//! use std::net::SocketAddr;
//!
//! use common::service::{self, Context, Weight};
//! use common::telemetry::LogOptions;
//!
//! #[derive(clap::Parser)]
//! struct Settings {
//!     /// Where clients connect
//!     #[arg(long, env = "CLOCK_LISTEN", default_value = "127.0.0.1:8083")]
//!     listen: SocketAddr,
//!     /// Where operators ask for /livez, /readyz and /metrics
//!     #[arg(long, env = "CLOCK_OPS_LISTEN", default_value = "127.0.0.1:9083")]
//!     ops_listen: SocketAddr,
//!     #[command(flatten)]
//!     log: LogOptions,
//! }
//!
//! impl service::Settings for Settings {
//!     const NAME: &'static str = "clock";
//!     const OPS_LISTEN: &'static str = "CLOCK_OPS_LISTEN";
//!
//!     fn ops_listen(&self) -> SocketAddr {
//!         self.ops_listen
//!     }
//!
//!     fn log(&self) -> &LogOptions {
//!         &self.log
//!     }
//! }
//!
//! async fn run(settings: Settings, context: Context) -> anyhow::Result<()> {
//!     let listener = service::bind("CLOCK_LISTEN", settings.listen).await?;
//!     context.health.condition("clock", Weight::Required).met();
//!     let now = || async { format!("{:?}", std::time::SystemTime::now()) };
//!     let router = axum::Router::new().route("/", axum::routing::get(now));
//!     service::serve_http(listener, router, context.shutdown).await;
//!     Ok(())
//! }
//!
//! fn main() -> std::process::ExitCode {
//!     service::main(run)
//! }
//! ```

mod ask;
mod conditions;
mod context;
mod exit;
mod health;
mod listener;
mod manager;
mod ops;
mod process;
mod reserve;
mod signals;
mod start;

pub use context::Context;
pub use exit::refuse;
pub use health::{Condition, Health, Weight};
pub use listener::{accept, bind, serve_http};
pub use signals::next_signal;
pub use start::{Settings, main};
