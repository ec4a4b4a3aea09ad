//! message-api over real HTTP, with a real SQLite database and something that answers in Telnyx's place.
//!
//! Stories with the Telnyx simulator, webhooks and the broker stand in the workspace's `tests/`.

mod harness;
mod rest;
mod sending;
mod telnyx;
mod trouble;
