//! The programs that a stack or a test runs: where each comes from, how it is started, and that none outlives us.

mod guard;
pub mod nats;
pub mod ports;
pub mod postgres;
pub(crate) mod private_file;
pub mod processes;
pub mod program;
pub mod scratch;
pub mod services;
pub mod tools;

pub(crate) use guard::run as run_guard;
