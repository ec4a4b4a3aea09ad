//! What the stories stand on: real databases, a real broker, the real client. No test sleeps until something is
//! probably so; [`eventually`] waits until it is.

pub mod broker;
pub mod databases;
mod waiting;

pub use waiting::eventually;
