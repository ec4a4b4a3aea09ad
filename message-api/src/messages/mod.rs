//! The messages of the caller's church: send one, look through them, look at one and at its recipients.

mod body;
mod cursor;
mod draft;
mod fields;
mod history;
mod parameters;
mod recipients;
mod send;
mod shape;
mod show;

pub(crate) use history::history;
pub(crate) use parameters::unknown_method;
pub(crate) use recipients::recipients;
pub(crate) use send::send;
pub(crate) use show::show;
