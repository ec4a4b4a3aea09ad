//! The programs that a stack or a test runs: where each comes from, how it starts, and that none outlives us.

pub mod nats;
pub mod ports;
pub mod postgres;
pub(crate) mod private_file;
pub mod processes;
pub mod program;
pub mod proxies;
mod reaper;
pub mod scratch;
pub mod services;
pub mod tools;

pub(crate) use reaper::run as run_reaper;
