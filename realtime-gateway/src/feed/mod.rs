//! Following the stream.

pub(crate) mod follower;
pub(crate) mod health;
pub(crate) mod leader;
pub(crate) mod replay;
