//! Reading JetStream, and naming a position in it.

pub(crate) mod cursor;
pub(crate) mod reader;
