//! Where events come from: the stream, and operators' replays.

pub(crate) mod follower;
mod gauges;
pub(crate) mod health;
mod leader;
pub(crate) mod replay;
mod source;

pub(crate) use gauges::FeedGauges;
pub(crate) use health::FeedHealth;
pub(crate) use source::Source;
