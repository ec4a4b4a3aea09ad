//! The routes of a church's messages: send one, list them, show one and its recipients, cancel one, retry one.

mod body;
mod cancel;
mod cursor;
mod draft;
mod fields;
mod history;
mod inbound;
mod parameters;
mod recipients;
mod response;
mod retry;
mod send;
mod show;

pub(crate) use cancel::cancel;
pub(crate) use history::history;
pub(crate) use inbound::inbound;
pub(crate) use parameters::unknown_method;
pub(crate) use recipients::recipients;
pub(crate) use retry::retry;
pub(crate) use send::send;
pub(crate) use show::show;
