//! The messages of the caller's church: send one, look through them, look at one.

mod cursor;
mod history;
mod request;
mod send;
mod shape;
mod show;

pub(crate) use history::history;
pub(crate) use send::send;
pub(crate) use show::show;
