//! The store in SQLite: one writer, readers beside it, sets as one JSON parameter.

mod dialect;
mod lease;
mod outbox;
mod pool;
mod transaction;

pub(super) use pool::Sqlite;
