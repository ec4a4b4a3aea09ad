//! How a binary starts, tells that it is well, and stops. The same for all three services.
//!
//! A service is `run(settings, context)`: it binds its own listener, works until `context.shutdown` is cancelled,
//! finishes what it has begun and returns. Everything around that is here: configuration errors (exit code 2),
//! logging, the operators' listener, signals, the exit code.

mod context;
mod exit;
mod health;
mod listener;
mod ops;
mod reserve;
mod signals;
mod start;

pub use context::Context;
pub use health::{Condition, Health, Weight};
pub use listener::{accept, bind, serve_http};
pub use signals::next_signal;
pub use start::{Settings, main};
