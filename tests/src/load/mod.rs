//! The load generator of `bench`. It is built to cost little, because it shares the machine with the services, and it
//! reports its own cost with every figure.

pub mod filling;
pub mod fleet;
pub mod http;
pub mod machine;
pub mod partition;
pub mod post;
pub mod record;
pub mod report;
pub mod socketio;
pub mod tcp;
pub mod usage;
pub mod webhooks;
