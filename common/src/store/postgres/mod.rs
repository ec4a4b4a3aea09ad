//! The store in PostgreSQL: arrays in, sets out.

mod dialect;
mod indexes;
mod lease;
mod outbox;
mod pool;
mod transaction;

pub(super) use pool::Postgres;
