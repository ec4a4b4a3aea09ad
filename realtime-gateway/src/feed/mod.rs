//! Where events come from: the stream, and operators' replays.

pub(crate) mod follower;
pub(crate) mod health;
mod leader;
pub(crate) mod replay;
mod source;

pub(crate) use health::FeedHealth;
pub(crate) use source::Source;
