//! The churches and their sockets.

mod close_reason;
mod emissions;
mod go_live;
mod hub;
mod inquiries;
mod join;
mod publish;
mod room;
mod subscriber;
mod subscription;
#[cfg(test)]
mod test_hub;
#[cfg(test)]
pub(crate) mod test_sockets;

pub(crate) use close_reason::CloseReason;
pub(crate) use go_live::{Next, PACE, STRIDE};
pub(crate) use hub::{Hub, SlowConsumer};
pub(crate) use subscriber::{Client, Subscriber, Unsent, is_same};
pub(crate) use subscription::Subscription;
