//! A client's life in order.

pub(crate) mod clock;
pub(crate) mod connect;
pub(crate) mod resume;
pub(crate) mod stale;
