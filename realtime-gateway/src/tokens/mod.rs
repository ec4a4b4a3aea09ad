//! How long a token is good.

mod errors;
mod revocations;
mod term;

pub(crate) use errors::RefreshError;
pub(crate) use revocations::Revocations;
pub(crate) use term::{Due, Term};
