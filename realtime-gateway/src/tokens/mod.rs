//! How long a token is good.

pub(crate) mod revocations;
