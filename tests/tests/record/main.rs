//! The record and its way into the stream, on both databases.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what fails here fails a test")]

mod church;
mod erasure;
mod locks;
mod outbox;
mod readiness;
mod relay;
mod reports;
mod retention;
mod revocations;
mod sending;
mod store;
