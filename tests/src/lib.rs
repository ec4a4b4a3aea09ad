//! The harness of the tests: real databases, a real broker, the real client. No test sleeps for a fixed time;
//! [`eventually`] waits for a condition.

#![expect(clippy::expect_used, clippy::panic, reason = "what fails here fails a test or a measurement")]

pub mod announcer;
pub mod back_end;
pub mod broker;
pub mod certificates;
pub mod chance;
pub mod client;
pub mod cluster;
pub mod console;
pub mod crowd;
pub mod databases;
pub mod frontend;
pub mod fuzz;
pub mod gate;
pub mod gateway;
pub mod load;
pub mod message_api;
pub mod ops;
pub mod prometheus;
pub mod proxy;
pub mod report;
mod runbook;
mod sending;
pub mod stack;
mod waiting;

pub use waiting::eventually;
