//! The record and its way into the stream, on both databases.

mod church;
mod outbox;
mod reports;
mod sending;
mod store;
