//! What at least two services need, and nothing else.
//!
//! Start with [`event`]: the news of one change, as it travels from the outbox through the broker to a browser.
//! [`status`] says how a message gets its status, [`store`] keeps the record, [`relay`] carries the outbox into
//! the stream, and [`service`] starts and stops a binary.

pub mod broker;
pub mod certificate;
pub mod claims;
pub mod config;
pub mod cors;
pub mod event;
pub mod failure;
pub mod inbound;
pub mod json;
pub mod phone;
pub mod relay;
pub mod retention;
pub mod revocation;
pub mod service;
pub mod status;
pub mod store;
pub mod subject;
pub mod telemetry;
pub mod telnyx_message;
pub mod throttle;
pub mod trace_context;
pub mod version;
