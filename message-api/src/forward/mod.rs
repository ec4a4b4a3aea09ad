//! Tells the product's own back end of each text that came in, at `INBOUND_URL`.

mod back_end;
mod forwarder;
mod readiness;

pub(crate) use back_end::BackEnd;
pub(crate) use forwarder::Forwarder;
