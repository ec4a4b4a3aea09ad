//! The load generator: what `bench` measures with. It is built to cost little, because it shares the machine with what
//! it measures, and it says what it cost beside every figure.

pub mod fleet;
pub mod http;
pub mod machine;
pub mod post;
pub mod record;
pub mod report;
pub mod socketio;
pub mod tcp;
pub mod usage;
pub mod webhooks;
