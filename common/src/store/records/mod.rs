//! What callers give to the store and get from it.

mod audit;
mod churches;
mod diagnosis;
mod failing;
mod inbound;
mod life;
mod messages;
mod outbox;
mod pauses;
mod sending;
mod stuck;
mod webhooks;

pub use audit::*;
pub use churches::*;
pub use diagnosis::*;
pub use failing::*;
pub use inbound::*;
pub use life::*;
pub use messages::*;
pub use outbox::*;
pub use pauses::*;
pub use sending::*;
pub use stuck::*;
pub use webhooks::*;
