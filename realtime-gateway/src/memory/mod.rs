//! What the gateway remembers of the stream, and what it reads again.

pub(crate) mod fingerprints;
pub(crate) mod followed;
pub(crate) mod history;
pub(crate) mod recent;
