//! What callers give to the store and get from it.

mod audit;
mod inbound;
mod messages;
mod outbox;
mod sending;
mod webhooks;

pub use audit::*;
pub use inbound::*;
pub use messages::*;
pub use outbox::*;
pub use sending::*;
pub use webhooks::*;
