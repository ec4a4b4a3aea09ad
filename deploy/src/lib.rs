//! Runs the suite: everything on one machine ([`stack`]), a simulated Telnyx ([`simulator`]), a
//! product's back end for the demo ([`back_end`]), and the operators'
//! commands ([`ops`]). The programs `stack` and `ops` and the tests use this library.

pub mod back_end;
mod checks;
mod client;
pub mod ops;
pub mod page;
mod programs;
pub mod release;
pub mod simulator;
pub mod stack;
mod web;

pub use client::{token, traffic, watch};
pub use programs::{nats, ports, postgres, processes, program, proxies, scratch, services, tools};
