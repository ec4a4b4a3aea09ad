//! Reading JetStream, and naming a position in it.

mod cursor;
mod error;
mod info;
mod message;
mod reader;

pub(crate) use cursor::{Fingerprint, Position};
pub(crate) use error::ReadError;
pub(crate) use info::{Extent, MESSAGES_OF_AN_OPERATION, Replicas};
pub(crate) use message::Stored;
pub(crate) use reader::Reader;
