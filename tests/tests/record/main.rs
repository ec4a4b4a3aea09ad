//! The store and the relay, on both databases.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what fails here fails a test")]

mod asking;
mod attempts;
mod cancelling;
mod church;
mod crossing;
mod erasure;
mod filling;
mod inbound;
mod indexes;
mod late;
mod locks;
mod model;
mod operators;
mod outbox;
mod overview;
mod paces;
mod plans;
mod readiness;
mod receipts;
mod relay;
mod reports;
mod retention;
mod retrying;
mod revocations;
mod sending;
mod store;
mod traces;
