//! The churches and their sockets.

mod catch_up;
mod close_reason;
mod hub;
mod join;
mod publish;
mod room;
mod subscriber;
mod subscription;
#[cfg(test)]
pub(crate) mod test_sockets;

pub(crate) use catch_up::{Next, PACE, STRIDE};
pub(crate) use close_reason::CloseReason;
pub(crate) use hub::{Hub, SlowConsumer};
pub(crate) use subscriber::{Client, Subscriber, Unsent, is_same};
pub(crate) use subscription::Subscription;
