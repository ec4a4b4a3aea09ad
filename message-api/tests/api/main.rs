//! message-api over real HTTP, with a real SQLite database and a stand-in for Telnyx.
//!
//! Stories with the Telnyx simulator, webhooks and the broker are in the workspace's `tests/`.

#![expect(clippy::unwrap_used, reason = "a story ends where something is not as it tells")]

mod document;
mod harness;
mod rest;
mod sending;
mod telnyx;
mod trouble;
