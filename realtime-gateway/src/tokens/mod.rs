//! How long a token is good.

mod errors;
mod revocations;
mod term;

pub(crate) use errors::{RefreshError, token_error_label};
pub(crate) use revocations::Revocations;
pub(crate) use term::{Due, Term};
