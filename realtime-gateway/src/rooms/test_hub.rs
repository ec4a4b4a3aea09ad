//! A hub for tests.

use common::service::Context;
use tokio::sync::mpsc;

use crate::connections::{SocketLimits, Transports};
use crate::metrics::Counters;
use crate::rooms::hub::{Hub, SlowConsumer};

/// A hub without limits, and its slow consumers.
pub(crate) fn hub() -> (Hub, mpsc::UnboundedReceiver<SlowConsumer>) {
    let limits = SocketLimits { church: 0, user: 0, address: 0 };
    Hub::new(limits, Transports::default(), Counters::new(&Context::new()))
}
