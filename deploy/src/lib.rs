//! How the suite is run: everything on one machine ([`stack`]), a Telnyx to try it against ([`simulator`]), and what
//! operators do ([`ops`]). The programs `stack` and `ops`, and the tests, are made of these pieces.

mod client;
pub mod ops;
mod programs;
pub mod simulator;
pub mod stack;

pub use client::{token, traffic, watch};
pub use programs::{nats, ports, postgres, processes, program, scratch, services, tools};
