//! Runs the suite: everything on one machine ([`stack`]), a simulated Telnyx ([`simulator`]), and the operators'
//! commands ([`ops`]). The programs `stack` and `ops` and the tests use this library.

mod client;
pub mod ops;
mod programs;
pub mod simulator;
pub mod stack;

pub use client::{token, traffic, watch};
pub use programs::{nats, ports, postgres, processes, program, scratch, services, tools};
