//! The page to try the suite on: two browsers of one church side by side, one of another church, and buttons for what
//! people fear. It uses the client package as a front end does.
//!
//! The buttons control processes. They work only with the secret of the printed address, from this machine, and from the
//! page itself.

mod control;
mod events;
mod files;
mod guard;
mod server;
mod site;

pub use server::Page;
pub use site::{Fault, Parts, Request, Site};
